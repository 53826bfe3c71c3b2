"""Mean stroke thickness of the digits that a member generates."""

from __future__ import annotations

import numpy as np

from dmin.data.thickness import digit_thicknesses
from dmin.games.measured import Measured, References

BEHAVIOUR = {
    "reads": "images",
    "summary": "Mean stroke thickness of Morpho-MNIST over the generated images that have a stroke.",
    "range": "pixels of a digit of 28 px",
}


def measure(member: Measured, against: References) -> dict[str, float]:
    return {"": float(np.nanmean(digit_thicknesses(member.images)))}
