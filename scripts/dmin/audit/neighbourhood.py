"""The training images nearest to an image, and whether they are of its subset."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

# Rows whose similarities to all training images are held at once.
_ROWS = 1024

Blocks = Iterator[tuple[slice, np.ndarray]]


@dataclass(frozen=True)
class Neighbourhood:
    """What stands around each of some images.

    Attributes:
        places: of the nearest training images, the nearest first, ``[n, k]``.
        similarities: to them, ``[n, k]``.
        own: mean similarity to the k nearest of its own subset, ``[n]``; NaN where there are none.
        other: the same of the subset, among the others, where it is largest, ``[n]``.
    """

    places: np.ndarray
    similarities: np.ndarray
    own: np.ndarray
    other: np.ndarray

    @property
    def margin(self) -> np.ndarray:
        """How much nearer another subset is than its own, ``[n]``; above 0 where one is."""
        return self.other - self.own


def feature_blocks(rows: np.ndarray, known: np.ndarray) -> Blocks:
    """Yield the cosines of unit ``rows [n, d]`` with all ``known [N, d]``, some rows at a time, and which they are."""
    for start in range(0, len(rows), _ROWS):
        yield slice(start, min(start + _ROWS, len(rows))), rows[start : start + _ROWS] @ known.T


def matrix_blocks(similarity: np.ndarray) -> Blocks:
    """Yield a matrix ``[n, N]`` of similarities as :func:`feature_blocks` does, each block a copy."""
    for start in range(0, len(similarity), _ROWS):
        yield slice(start, min(start + _ROWS, len(similarity))), similarity[start : start + _ROWS].copy()


def neighbourhood(blocks: Blocks, subsets: Sequence[str], known: Sequence[str], k: int, same: bool) -> Neighbourhood:
    """Return what stands around each row.

    Args:
        blocks: similarities ``[n, N]`` with all training images, in order.
        subsets, known: the subset of each row, and of each training image.
        k: neighbours of each; all where there are fewer.
        same: the rows are the training images, and none is its own neighbour.
    """
    names = sorted(set(known))
    members = {name: np.flatnonzero(np.asarray(known) == name) for name in names}
    k = min(k, len(known) - same)
    found: list[tuple[np.ndarray, ...]] = []
    for rows, block in blocks:
        if same:
            block[np.arange(len(block)), np.arange(rows.start, rows.stop)] = -np.inf
        places = _largest(block, k)
        mine = np.asarray(subsets[rows])
        means = np.stack([_mean_of_largest(block[:, members[name]], k) for name in names], axis=1)
        is_own = mine[:, None] == np.asarray(names)[None, :]
        own = np.where(is_own.any(axis=1), np.nanmax(np.where(is_own, means, -np.inf), axis=1), np.nan)
        other = np.where(is_own, -np.inf, np.nan_to_num(means, nan=-np.inf)).max(axis=1, initial=-np.inf)
        found.append((places, np.take_along_axis(block, places, axis=1), own, other))
    parts = [np.concatenate(column) for column in zip(*found, strict=True)]
    return Neighbourhood(*(np.where(np.isinf(part), np.nan, part) if part.dtype != int else part for part in parts))


def _largest(block: np.ndarray, k: int) -> np.ndarray:
    """Return the places ``[n, k]`` of the largest values of each row, the largest first."""
    if k < block.shape[1]:
        places = np.argpartition(-block, k - 1, axis=1)[:, :k] if k else np.empty((len(block), 0), dtype=int)
    else:
        places = np.tile(np.arange(block.shape[1]), (len(block), 1))
    order = np.argsort(-np.take_along_axis(block, places, axis=1), axis=1, kind="stable")
    return np.take_along_axis(places, order, axis=1)


def _mean_of_largest(block: np.ndarray, k: int) -> np.ndarray:
    """Return the mean ``[n]`` of the ``k`` largest finite values of each row; NaN where there is none."""
    k = min(k, block.shape[1])
    largest = -np.partition(-block, k - 1, axis=1)[:, :k]
    finite = np.isfinite(largest)
    total = np.where(finite, largest, 0).sum(axis=1)
    counts = finite.sum(axis=1)
    means: np.ndarray = np.divide(total, counts, out=np.full(len(block), np.nan), where=counts > 0)
    return means
