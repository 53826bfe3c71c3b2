"""Shapley values by constrained least squares, beside a level of their own for coalitions of each size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dmin.games.outcomes import Outcomes
from dmin.games.shapley_kernel import KernelProblem

ESTIMATOR = {
    "laws": ("shapley", "all"),
    "index": "shapley",
    "resamples": "coalitions",
    "unknowns": (1, -1),
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

    Levels take at most the coalitions that the contributions leave over, but for one; neighbouring sizes share a level
    where that is too few.

    Raises:
        UserError: there are fewer coalitions than free contributions, n - 1.
    """
    problem = KernelProblem.of(outcomes, "shapley_by_size")
    design, rest, found = problem.design.copy(), problem.rest.copy(), np.unique(problem.sizes)
    levels = min(len(found), (outcomes.drawn or len(outcomes.values)) - outcomes.players)
    for level in np.array_split(found, levels) if levels > 0 else []:
        # A level is fitted by taking weighted means away.
        rows = np.isin(problem.sizes, level)
        weights = problem.weights[rows]
        design[rows] -= np.average(design[rows], axis=0, weights=weights)
        rest[rows] -= np.average(rest[rows], weights=weights)
    return replace(problem, design=design, rest=rest).solve()
