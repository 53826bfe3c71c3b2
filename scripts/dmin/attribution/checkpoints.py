"""Scores summed over the checkpoints of a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dmin.attribution.gradient_rows import GradientRows, require_equal_settings
from dmin.attribution.mean_gradients import weighted_gradients
from dmin.attribution.vectors import products
from dmin.runtime.errors import UserError

# In what the queries' gradients, averaged over timesteps and noises, differ from the replayed ones.
OWN = ("draws", "timesteps", "noise", "objective")


@dataclass(frozen=True)
class Checkpoint:
    """Gradients at one checkpoint and its weight: the learning rate times the epochs since the checkpoint before."""

    queries: GradientRows
    train: GradientRows
    weight: float


def checkpoint_weights(facts: Sequence[Mapping[str, Any]], batch_size: int, entries: int) -> list[float]:
    """Return the weight of each checkpoint, in the order of the steps.

    Args:
        facts: ``step`` and ``learning_rate`` of each.
        batch_size: samples per step.
        entries: of an epoch: training samples, each as often as its ``repeats``.

    Source: Diffusion-TracIn, but for a factor ``batch_size / entries`` that all checkpoints share.
    """
    weights, before = [], 0
    for fact in facts:
        epochs = (fact["step"] - before) * batch_size / entries
        weights.append(float(fact["learning_rate"]) * epochs)
        before = fact["step"]
    return weights


def summed_products(checkpoints: Sequence[Checkpoint], normalise: bool) -> np.ndarray:
    """Return ``sum_c w_c <q_c, g_i,c>``, float32 ``[queries, train]``.

    ``g_i,c`` is the gradient that sample i last had before the checkpoint, ``q_c`` the mean over timesteps of the
    query's gradients, each already averaged over its noises. With ``normalise``, every one of them is a unit vector.

    Raises:
        UserError: there is no checkpoint, or the two sides of one differ in more than they must.
    """
    if not checkpoints:
        raise UserError("There is no checkpoint to sum over; list steps in models.*.train.checkpoints.")
    total = np.zeros((len(checkpoints[0].queries.ids), len(checkpoints[0].train.ids)))
    for point in checkpoints:
        require_equal_settings(point.queries, point.train, OWN)
        steps = point.queries.norms.shape[1]
        weights = np.ones_like(point.queries.norms) if normalise else point.queries.norms
        lengths = np.ones_like(point.train.norms) if normalise else point.train.norms
        asked = weighted_gradients(point.queries, weights / steps)
        total += point.weight * products(asked, weighted_gradients(point.train, lengths))
    return total.astype(np.float32)
