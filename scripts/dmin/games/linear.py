"""Linear fits of a behaviour to who was in."""

from __future__ import annotations

import numpy as np
from scipy.linalg import eigh, lstsq

from dmin.runtime.errors import UserError
from dmin.runtime.seeds import derive_seed

FOLDS = 5
# Lambda over the mean squared length of a centred coalition.
RELATIVE_LAMBDAS = tuple(float(value) for value in np.logspace(-6, 2, 25))


def least_squares(design: np.ndarray, values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the coefficients ``[p]`` that minimise the weighted squared error, the shortest where several do.

    Args:
        design: ``[m, p]``.
        values: ``[m]``.
        weights: ``[m]``, not negative.
    """
    root = np.sqrt(weights)
    found: np.ndarray = lstsq(design * root[:, None], values * root)[0]
    return found


def require_rows(count: int, unknowns: int, estimator: str) -> None:
    """Refuse a fit without a ridge of more unknowns than coalitions.

    Raises:
        UserError: there are more.
    """
    if count < unknowns:
        raise UserError(
            f"Estimator '{estimator}' has {unknowns} unknowns but {count} coalitions and no ridge; draw at least "
            f"{unknowns} coalitions, or take the estimator datamodel."
        )


def centre(gram: np.ndarray, rows: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Return the inner products of ``rows`` and ``kept`` once the mean of ``kept`` is taken from both.

    Args:
        gram: ``X X'``, ``[m, m]``.
        rows: places in ``gram``.
        kept: likewise.
    """
    across, within = gram[np.ix_(rows, kept)], gram[np.ix_(kept, kept)]
    of_rows, of_kept = across.mean(axis=1, keepdims=True), within.mean(axis=0, keepdims=True)
    found: np.ndarray = across - of_rows - of_kept + within.mean()
    return found


def ridge_dual(gram: np.ndarray, values: np.ndarray, relative: float) -> np.ndarray:
    """Return the dual ``a [m]`` of a ridge regression with a free intercept, whose slopes are ``X' a``.

    Minimises ``sum (y - b_0 - x b)^2 + lambda b b``: ``a = (X X' + lambda I)^-1 y`` for centred X and y. Since ``a``
    sums to 0, X may be left as it is for the slopes.

    Args:
        gram: ``X X'``, ``[m, m]``, X as it is.
        relative: lambda over the mean squared length of the rows of centred X.
    """
    every = np.arange(len(gram))
    inner = centre(gram, every, every)
    penalty = max(relative * float(np.trace(inner)) / len(inner), 1e-12)
    found: np.ndarray = np.linalg.solve(inner + penalty * np.eye(len(inner)), values - values.mean())
    return found


def choose_lambda(gram: np.ndarray, values: np.ndarray, seed: int) -> float:
    """Return the relative lambda of the smallest squared error in cross-validation over the coalitions given.

    Args:
        gram: as of :func:`ridge_dual`.

    Raises:
        UserError: there are fewer than two coalitions.
    """
    count = len(values)
    if count < 2:
        raise UserError(f"{count} coalition is too few to choose a ridge on; draw at least two, better 32.")
    order = np.random.default_rng(derive_seed(seed, "folds")).permutation(count)
    errors = np.zeros(len(RELATIVE_LAMBDAS))
    for held in np.array_split(order, min(FOLDS, count)):
        kept = np.setdiff1d(order, held)
        mean = values[kept].mean()
        scale, basis = eigh(centre(gram, kept, kept))
        across, turned = centre(gram, held, kept) @ basis, basis.T @ (values[kept] - mean)
        for place, relative in enumerate(RELATIVE_LAMBDAS):
            shrunk = turned / (np.maximum(scale, 0) + max(relative * float(scale.sum()) / len(kept), 1e-12))
            errors[place] += float(np.square(values[held] - mean - across @ shrunk).sum())
    return RELATIVE_LAMBDAS[int(errors.argmin())]
