"""How far a member's image is from that of the whole model."""

from __future__ import annotations

import numpy as np

from dmin.games.measured import Measured, References

BEHAVIOUR = {
    "reads": "images",
    "summary": "Mean squared difference of the query's image to the one that the whole model makes of the same noise.",
    "range": "[0, 1], of pixels in [0, 1]",
    "needs": ("query",),
}


def measure(member: Measured, against: References) -> dict[str, float]:
    difference = (member.images[against.number].astype(np.float64) - against.query_image) / 255
    return {"": float(np.square(difference).mean())}
