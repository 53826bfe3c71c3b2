"""What one player alone gives the model."""

from __future__ import annotations

import numpy as np

from dmin.games.outcomes import Outcomes

ESTIMATOR = {
    "laws": ("add_one_in", "all"),
    "index": "add_one_in",
    "resamples": "seeds",
    "ends": True,
    "summary": "What the player gives alone.",
    "formula": "`v(i) - v(none)`",
    "source": "Ghorbani and Zou 2019, as a baseline",
    "label": "Add one in",
    "look": ("#E69F00", "v", "dashed"),
}


def contributions(outcomes: Outcomes) -> np.ndarray:
    """Return the contributions ``[n]``.

    Raises:
        UserError: the coalition of a player alone was not measured.
    """
    return outcomes.single(without=False) - outcomes.none
