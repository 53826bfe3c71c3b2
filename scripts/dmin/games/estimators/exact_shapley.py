"""Exact Shapley values, from all coalitions."""

from __future__ import annotations

import numpy as np

from dmin.games.exact import complete, shapley_values
from dmin.games.outcomes import Outcomes

ESTIMATOR = {
    "laws": ("all",),
    "index": "shapley",
    "resamples": "seeds",
    "ends": True,
    "efficient": True,
    "summary": "The definition itself, over all 2^n coalitions.",
    "formula": "`sum_S s! (n - s - 1)! / n! (v(S + i) - v(S))`, s players in S",
    "source": "Shapley 1953",
    "label": "Shapley, exact",
    "look": ("#1f2430", "D", "solid"),
}


def contributions(outcomes: Outcomes) -> np.ndarray:
    """Return the values ``[n]``.

    Raises:
        UserError: a coalition was not measured.
    """
    return shapley_values(complete(outcomes))
