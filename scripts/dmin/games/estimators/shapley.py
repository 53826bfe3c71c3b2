"""Shapley values by constrained least squares."""

from __future__ import annotations

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
    "summary": "Least squares under the Shapley kernel; the contributions sum to v(all) - v(none).",
    "formula": "`argmin_b sum_S w(S) (v(S) - v(none) - 1_S b)^2` with `1 b = v(all) - v(none)`",
    "source": "Lundberg and Lee 2017; Covert and Lee 2021, eq. 7",
    "label": "Shapley",
    "look": ("#D55E00", "D", "solid"),
}


def contributions(outcomes: Outcomes) -> np.ndarray:
    """Return the contributions ``[n]``.

    Raises:
        UserError: there are fewer coalitions than free unknowns, n - 1.
    """
    return KernelProblem.of(outcomes, "shapley").solve()
