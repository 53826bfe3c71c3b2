"""Shapley values by constrained least squares."""

from __future__ import annotations

import numpy as np
from scipy.linalg import helmert

from dmin.games.linear import least_squares, require_rows
from dmin.games.outcomes import Outcomes

ESTIMATOR = {
    "laws": ("shapley", "all"),
    "index": "shapley",
    "resamples": "coalitions",
    "unknowns": (1, -1),
    "ends": True,
    "efficient": True,
    "summary": "Least squares under the Shapley kernel; the contributions sum to v(all) - v(none).",
    "formula": "`argmin_b sum_S w(S) (v(S) - v(none) - 1_S b)^2` with `1 b = v(all) - v(none)`",
    "source": "Lundberg and Lee 2017; Covert and Lee 2021, eq. 7",
    "label": "Shapley",
    "look": ("#D55E00", "D", "solid"),
}


def contributions(outcomes: Outcomes) -> np.ndarray:
    """Return the contributions ``[n]``.

    The constraint is solved for, not penalised: an equal share of v(all) - v(none) each, and a part that sums to zero,
    which is fitted.

    Raises:
        UserError: there are fewer coalitions than free unknowns, n - 1.
    """
    n = outcomes.players
    require_rows(outcomes.drawn or len(outcomes.values), n - 1, "shapley")
    equal = np.full(n, outcomes.gain / n)
    zero_sum = helmert(n).T
    inner = (outcomes.member.sum(axis=1) % n) != 0  # the ends hold by the constraint
    member = outcomes.member[inner].astype(float)
    rest = outcomes.values[inner] - outcomes.none - member @ equal
    weights = outcomes.weights("shapley")[outcomes.member[inner].sum(axis=1)]
    found: np.ndarray = equal + zero_sum @ least_squares(member @ zero_sum, rest, weights)
    return found
