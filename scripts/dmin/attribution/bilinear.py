"""A bilinear map of two sides' features that foretells a matrix of scores, by ridge regression in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Ridges that are tried, as multiples of the mean squared product of both sides' features; of equal ones the largest.
PENALTIES = tuple(10.0**-power for power in range(11))
FOLDS = 5
# Directions in which features vary less than this share of the largest one are left out.
_LEAST = 1e-7


@dataclass(frozen=True)
class Bilinear:
    """Coordinates of both sides: ``(f @ left) @ (g @ right).T`` are the scores of features ``f [m, d]``, ``g [n, d]``.

    Attributes:
        left: ``[d, rank]``; ``right`` likewise, under which the features of the fit have a mean square of 1.
        penalty: the relative ridge that was chosen.
        explained: the share of the variance of scores that it foretells for rows which it was not fitted on, at most 1.
    """

    left: np.ndarray
    right: np.ndarray
    penalty: float
    explained: float


@dataclass(frozen=True)
class _Directions:
    """A singular value decomposition ``u diag(s) v^T`` without its smallest values."""

    u: np.ndarray
    s: np.ndarray
    v: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray) -> _Directions:
        u, s, vt = np.linalg.svd(features, full_matrices=False)
        kept = s > _LEAST * s[0]
        return cls(u[:, kept], s[kept], vt[kept].T)


def fit_bilinear(left: np.ndarray, right: np.ndarray, scores: np.ndarray, rank: int) -> Bilinear:
    """Return the map ``W`` of rank at most ``rank`` that minimises ``|L W R^T - S|^2 + lambda |W|^2``.

    ``lambda`` is the one of :data:`PENALTIES` that is best for rows of ``L`` which a fit has not seen, by cross-
    validation over five folds of them. ``W`` is closed in the singular vectors of both sides: nothing ``[d^2, d^2]`` is
    made. Its largest ``rank`` directions are those of the scores that it foretells.

    Args:
        left: features ``L [m, d]`` of the rows, float64.
        right: features ``R [n, d]`` of the columns, float64.
        scores: ``S [m, n]``, float64.
    """
    columns = _Directions.of(right)
    core = scores @ columns.u
    # What no map of these columns can reach.
    beyond = (scores**2).sum() - (core**2).sum()
    errors = np.full(len(PENALTIES), beyond)
    folds = np.arange(len(left)) % FOLDS
    for fold in range(FOLDS):
        held = folds == fold
        rows = _Directions.of(left[~held])
        inner, turned = rows.u.T @ core[~held], left[held] @ rows.v
        for place, penalty in enumerate(PENALTIES):
            foretold = (turned @ _solve(rows, columns, inner, penalty)) * columns.s
            errors[place] += ((core[held] - foretold) ** 2).sum()
    best = int(np.argmin(errors))
    rows = _Directions.of(left)
    solved = _solve(rows, columns, rows.u.T @ core, PENALTIES[best])
    a, s, b = np.linalg.svd(rows.s[:, None] * solved * columns.s, full_matrices=False)
    rank = min(rank, len(s))
    maps = (rows.v / rows.s) @ (a[:, :rank] * s[:rank]), (columns.v / columns.s) @ b[:rank].T
    size = 1 / np.sqrt(len(right))
    explained = 1 - errors[best] / ((scores - scores.mean()) ** 2).sum()
    return Bilinear(maps[0] * size, maps[1] / size, PENALTIES[best], float(explained))


def _solve(rows: _Directions, columns: _Directions, inner: np.ndarray, penalty: float) -> np.ndarray:
    """Return ``W`` in the singular vectors of both sides; ``inner`` are the scores there."""
    squares = np.outer(rows.s**2, columns.s**2)
    solved: np.ndarray = np.outer(rows.s, columns.s) * inner / (squares + penalty * squares.mean())
    return solved
