"""Vectors of many dimensions on two axes, for a map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from dmin.attribution.gradient_rows import GradientRows

_DRAWN = 12
_ITERATIONS = 6


@dataclass(frozen=True)
class Projection:
    """Where samples lie on the two principal axes of the training images.

    Attributes:
        name: what was projected, as a page says it.
        train: ids of training images; ``train_places [N, 2]`` belongs to it.
        queries: ids of queries; ``query_places [Q, 2]`` belongs to it.
        explained: share of the training images' variance on each axis.
    """

    name: str
    train: list[str]
    train_places: np.ndarray
    queries: list[str]
    query_places: np.ndarray
    explained: tuple[float, float]


def principal_axes(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the mean ``[d]``, two principal axes ``[2, d]`` and the share of variance on each of ``rows [n, d]``.

    By randomised subspace iteration from a fixed start, so equal rows give equal axes; each axis points to where its
    largest entry is positive.

    Source: Halko, Martinsson and Tropp 2011, algorithm 4.4.
    """
    mean = rows.mean(axis=0)
    centred = rows - mean
    count = min(_DRAWN, *rows.shape)
    basis = np.random.default_rng(0).normal(size=(rows.shape[1], count)).astype(rows.dtype)
    for _ in range(_ITERATIONS):
        basis, _ = np.linalg.qr(centred.T @ (centred @ basis))
    _, values, turned = np.linalg.svd(centred @ basis, full_matrices=False)
    axes = np.zeros((2, rows.shape[1]), dtype=rows.dtype)
    shares = np.zeros(2)
    axes[: min(2, count)] = (turned @ basis.T)[:2]
    total = float((centred**2).sum())
    shares[: min(2, count)] = values[:2] ** 2 / total if total > 0 else 0
    signs = np.sign(axes[np.arange(2), np.abs(axes).argmax(axis=1)])
    return mean, axes * np.where(signs == 0, 1, signs)[:, None], shares


def project_gradients(train: GradientRows, queries: GradientRows, shown: Sequence[str]) -> Projection:
    """Project unit gradients, averaged over timesteps, of the ``shown`` training images and all queries."""
    rows = _mean_rows(train, set(shown))
    ids = [sample for sample in train.ids if sample in set(shown)]
    return _project("Gradients", ids, rows, queries.ids, _mean_rows(queries, set(queries.ids)))


def project_features(features: np.ndarray, ids: Sequence[str], shown: Sequence[str]) -> Projection:
    """Project the features ``[N, d]`` of the ``shown`` training images; queries have none."""
    wanted = set(shown)
    keep = [place for place, sample in enumerate(ids) if sample in wanted]
    nothing = np.zeros((0, features.shape[1]), dtype=features.dtype)
    return _project("Image features", [ids[place] for place in keep], features[keep], [], nothing)


def _project(name: str, train: list[str], rows: np.ndarray, queries: list[str], asked: np.ndarray) -> Projection:
    mean, axes, shares = principal_axes(rows)
    places = [(part - mean) @ axes.T for part in (rows, asked)]
    return Projection(name, train, places[0], queries, places[1], (float(shares[0]), float(shares[1])))


def _mean_rows(rows: GradientRows, wanted: set[str]) -> np.ndarray:
    """Return the gradients of some samples averaged over timesteps, float32 ``[n, width]``, in the rows' order."""
    parts = []
    for place, block in rows.blocks():
        keep = [index for index, sample in enumerate(rows.ids[place]) if sample in wanted]
        parts.append(block[keep].mean(axis=1))
    return np.concatenate(parts)
