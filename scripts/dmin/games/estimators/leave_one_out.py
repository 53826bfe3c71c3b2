"""What the model loses without one player."""

from __future__ import annotations

import numpy as np

from dmin.games.outcomes import Outcomes

ESTIMATOR = {
    "laws": ("leave_one_out", "all"),
    "index": "leave_one_out",
    "resamples": "seeds",
    "ends": True,
    "summary": "What everyone together loses without the player.",
    "formula": "`v(all) - v(all without i)`",
    "source": "Cook 1977",
    "label": "Leave one out",
    "look": ("#CC79A7", "^", "dashed"),
}


def contributions(outcomes: Outcomes) -> np.ndarray:
    """Return the contributions ``[n]``.

    Raises:
        UserError: the coalition without a player was not measured.
    """
    return outcomes.all - outcomes.single(without=True)
