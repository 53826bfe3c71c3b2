"""Datamodel: ridge regression of the behaviour on who was in, with an intercept."""

from __future__ import annotations

import numpy as np

from dmin.games.linear import choose_lambda, ridge_dual
from dmin.games.outcomes import Outcomes

ESTIMATOR = {
    "laws": ("datamodel", "uniform", "shapley", "all"),
    "index": "shapley",
    "resamples": "coalitions",
    "summary": "Ridge regression with an intercept, lambda by cross-validation on the coalitions of the fit alone.",
    "formula": "`argmin_b sum_S (v(S) - b_0 - 1_S b)^2 + lambda b b`",
    "source": "Ilyas et al. 2022; sparsified unlearning",
    "label": "Datamodel",
    "look": ("#8F4470", "p", "solid"),
}


def tune(outcomes: Outcomes) -> float:
    """Return lambda, relative to the mean squared length of a centred coalition."""
    return choose_lambda(outcomes.gram, outcomes.values, outcomes.law.seed)


def contributions(outcomes: Outcomes, penalty: float) -> np.ndarray:
    """Return the slopes ``[n]``.

    Where every coalition is of one size they sum to 0: only differences between players can be seen.
    """
    return outcomes.combine(ridge_dual(outcomes.gram, outcomes.values, penalty))
