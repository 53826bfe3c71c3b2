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


def ridge(member: np.ndarray, values: np.ndarray, relative: float) -> np.ndarray:
    """Return the slopes ``[n]`` of a ridge regression with an intercept, solved in the dual.

    Minimises ``sum (y - b_0 - x b)^2 + lambda |b|^2``, the intercept free: ``b = X' (X X' + lambda I)^-1 y`` for
    centred X and y.

    Args:
        member: ``[m, n]``.
        relative: lambda over the mean squared length of the rows of centred X.
    """
    design = member - member.mean(axis=0)
    gram = design @ design.T
    penalty = relative * np.trace(gram) / len(gram)
    dual = np.linalg.solve(gram + (penalty or 1e-12) * np.eye(len(gram)), values - values.mean())
    found: np.ndarray = design.T @ dual
    return found


def choose_lambda(member: np.ndarray, values: np.ndarray, seed: int) -> float:
    """Return the relative lambda of the smallest squared error in cross-validation over the coalitions given.

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
        mean = member[kept].mean(axis=0)
        design, centre = member[kept] - mean, values[kept].mean()
        scale, basis = eigh(design @ design.T)
        across = (member[held] - mean) @ design.T @ basis
        turned = basis.T @ (values[kept] - centre)
        for place, relative in enumerate(RELATIVE_LAMBDAS):
            shrunk = turned / (np.maximum(scale, 0) + max(relative * scale.sum() / len(kept), 1e-12))
            errors[place] += float(np.square(values[held] - centre - across @ shrunk).sum())
    return RELATIVE_LAMBDAS[int(errors.argmin())]
