"""Exact Banzhaf values, from all coalitions."""

from __future__ import annotations

import numpy as np

from dmin.games.exact import banzhaf_values, complete
from dmin.games.outcomes import Outcomes

ESTIMATOR = {
    "laws": ("all",),
    "index": "banzhaf",
    "resamples": "seeds",
    "ends": True,
    "summary": "The definition itself, over all 2^n coalitions.",
    "formula": "`mean over S of v(S + i) - v(S)`",
    "source": "Banzhaf 1965",
    "label": "Banzhaf, exact",
    "look": ("#1f2430", "s", "solid"),
}


def contributions(outcomes: Outcomes) -> np.ndarray:
    """Return the values ``[n]``.

    Raises:
        UserError: a coalition was not measured.
    """
    return banzhaf_values(complete(outcomes))
