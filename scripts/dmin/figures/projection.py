"""Vectors of many dimensions on two axes, for a map."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from dmin.attribution.gradient_rows import GradientRows

_DRAWN = 12
_ITERATIONS = 6
# Rows of features that are taken at a time beyond those that the axes are of.
_AT_ONCE = 4096


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


def project_gradients(
    train: GradientRows, queries: GradientRows, shown: Sequence[str], listed: Sequence[str]
) -> Projection:
    """Project unit gradients, averaged over timesteps, of all ``listed`` training images and of all queries.

    The axes are those of the ``shown`` ones, which are among them.
    """
    first = set(shown)
    ids, rows = _mean_rows(train, first)
    asked, of_queries = _mean_rows(queries, set(queries.ids))
    blocks = chain([(ids, rows)], _mean_blocks(train, set(listed) - first))
    return _project("Gradients", blocks, asked, of_queries)


def project_features(
    features: np.ndarray, ids: Sequence[str], shown: Sequence[str], listed: Sequence[str]
) -> Projection:
    """Project the features ``[N, d]`` of the ``listed`` training images, on axes as above; queries have none."""
    first, wanted = set(shown), set(listed)
    ahead = [place for place, sample in enumerate(ids) if sample in first]
    rest = [place for place, sample in enumerate(ids) if sample in wanted and sample not in first]
    parts = [ahead, *(rest[start : start + _AT_ONCE] for start in range(0, len(rest), _AT_ONCE))]
    blocks = (([ids[place] for place in keep], features[keep]) for keep in parts)
    return _project("Image features", blocks, [], features[:0])


Rows = tuple[list[str], np.ndarray]


def _project(name: str, blocks: Iterable[Rows], queries: list[str], asked: np.ndarray) -> Projection:
    """Project rows with their ids, held block by block, on the axes of the first block."""
    train: list[str] = []
    places: list[np.ndarray] = []
    axes, shares = np.zeros((2, 0)), np.zeros(2)
    mean = np.zeros(0)
    for ids, rows in blocks:
        if not places:
            mean, axes, shares = principal_axes(rows)
        train += ids
        places.append((rows - mean) @ axes.T)
    return Projection(
        name, train, np.concatenate(places), queries, (asked - mean) @ axes.T, (float(shares[0]), float(shares[1]))
    )


def _mean_rows(rows: GradientRows, wanted: set[str]) -> Rows:
    """Return the ids of some samples and their gradients averaged over timesteps, float32 ``[n, width]``."""
    found = list(_mean_blocks(rows, wanted))
    return [sample for ids, _ in found for sample in ids], np.concatenate([block for _, block in found])


def _mean_blocks(rows: GradientRows, wanted: set[str]) -> Iterator[Rows]:
    if not wanted:
        return
    for place, block in rows.blocks():
        ids = rows.ids[place]
        keep = [index for index, sample in enumerate(ids) if sample in wanted]
        yield [ids[index] for index in keep], block[keep].mean(axis=1)
