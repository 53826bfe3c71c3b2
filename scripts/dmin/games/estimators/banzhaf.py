"""Banzhaf values by least squares."""

from __future__ import annotations

import numpy as np

from dmin.games.linear import least_squares, require_rows
from dmin.games.outcomes import Outcomes

ESTIMATOR = {
    "laws": ("uniform", "all"),
    "index": "banzhaf",
    "resamples": "coalitions",
    "unknowns": (1, -1),
    "summary": "Least squares with an intercept, every coalition as likely as any other.",
    "formula": "`argmin_b sum_S (v(S) - b_0 - (1_S - 1/2) b)^2`",
    "source": "Hammer and Holzman 1992; Wang and Jia 2023",
    "label": "Banzhaf",
    "look": ("#009E73", "s", "solid"),
}


def contributions(outcomes: Outcomes) -> np.ndarray:
    """Return the contributions ``[n]``; v(all) and v(none), where they are known, count as two coalitions more.

    Raises:
        UserError: there are fewer coalitions than unknowns, n + 1.
    """
    n = outcomes.players
    ends = [(size, value) for size, value in ((0, outcomes.none), (n, outcomes.all)) if value == value]
    require_rows((outcomes.drawn or len(outcomes.values)) + len(ends), n + 1, "banzhaf")
    inner = (outcomes.member.sum(axis=1) % n) != 0
    member = np.vstack([outcomes.member[inner], *(np.full((1, n), size == n) for size, _ in ends)])
    values = np.concatenate([outcomes.values[inner], [value for _, value in ends]])
    design = np.column_stack([np.ones(len(member)), member - 0.5])
    return least_squares(design, values, outcomes.weights("uniform")[member.sum(axis=1)])[1:]
