"""Shapley values by constrained least squares, beside a level of their own for coalitions of each size."""

from __future__ import annotations

import numpy as np
from scipy.linalg import helmert

from dmin.games.linear import least_squares, require_rows
from dmin.games.outcomes import Outcomes

ESTIMATOR = {
    "laws": ("shapley", "all"),
    "index": "shapley",
    "resamples": "coalitions",
    "unknowns": (2, -2),
    "ends": True,
    "efficient": True,
    "summary": "Least squares under the Shapley kernel, with a level for every size of coalition beside the players.",
    "formula": "`argmin_b min_h sum_S w(S) (v(S) - h(|S|) - 1_S b)^2` with `1 b = v(all) - v(none)`",
    "source": "Lundberg and Lee 2017; the levels are this project's",
    "label": "Shapley, by size",
    "look": ("#8C3A00", "d", "dashed"),
}


def contributions(outcomes: Outcomes) -> np.ndarray:
    """Return the contributions ``[n]``.

    A game that depends on the size of a coalition alone has equal Shapley values, and over all coalitions of a size
    what sums to zero is orthogonal to it: levels leave the exact values as they are, and take from a sample of
    coalitions what the sizes in it happen to be. Where v rises steeply with the first players, as the quality of a
    model does, that is most of the error of ``shapley``.

    Raises:
        UserError: there are fewer coalitions than unknowns: n - 1, and one for each size that was drawn.
    """
    n, sizes = outcomes.players, outcomes.member.sum(axis=1)
    inner = (sizes % n) != 0  # the ends hold by the constraint
    member, values, sizes = outcomes.member[inner].astype(float), outcomes.values[inner].copy(), sizes[inner]
    require_rows(outcomes.drawn or len(values), n - 1 + len(np.unique(sizes)), "shapley_by_size")
    zero_sum = helmert(n).T
    design = member @ zero_sum
    for size in np.unique(sizes):
        # The weights of a size are equal, so that its level is fitted by taking means away.
        rows = sizes == size
        design[rows] -= design[rows].mean(axis=0)
        values[rows] -= values[rows].mean()
    found: np.ndarray = outcomes.gain / n + zero_sum @ least_squares(design, values, outcomes.weights("shapley")[sizes])
    return found
