"""Diffusion-TracIn with the final weights as the only checkpoint."""

from __future__ import annotations

from typing import Any

import numpy as np

from dmin.attribution.final_checkpoint import timestep_facts, timestep_weights
from dmin.attribution.gradient_rows import GradientRows, require_equal_settings
from dmin.attribution.mean_gradients import mean_gradients, weighted_gradients
from dmin.attribution.vectors import products
from dmin.settings.runs import Options

METHOD = {
    "inputs": "gradients",
    "summary": "Diffusion-TracIn with the final weights as the only checkpoint.",
    "score": "`<phi_q, g_i>` at the timestep that i was trained with",
    "range": "squared gradient units",
    "label": "TracIn, final model",
    "look": ("#009E73", "D", "dashed"),
    "caches": ("loss", "loss"),
    "linear": ("queries",),
    "options": ("train_timestep", "seed"),
}


def scores(queries: GradientRows, train: GradientRows, options: Options) -> np.ndarray:
    """Return ``<mean_t g_q,t, g_i>``, float32 ``[queries, train]`` in squared gradient units.

    ``g_i`` is the raw gradient at the timestep that the sample was trained with: see :func:`timestep_weights`. The
    learning rate, one constant for one checkpoint, is left out; with ``train_timestep: mean`` the scores are those of
    ``grad_dot``.

    Raises:
        UserError: the two sides were cached under different settings, or ``train_timestep`` is unknown.

    Source: Diffusion-TracIn of the Diffusion-ReTrac paper.
    """
    require_equal_settings(queries, train)
    weights = timestep_weights(train.ids, train.norms.shape[1], options)
    trained = weighted_gradients(train, weights * train.norms)
    return products(mean_gradients(queries), trained).astype(np.float32)


def facts(options: Options) -> dict[str, Any]:
    """Return what the scores depend on, as it is recorded beside them."""
    return timestep_facts(options)
