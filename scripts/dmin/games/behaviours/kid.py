"""Kernel distance between what a member generates and the training images."""

from __future__ import annotations

from dmin.games.feature_distances import kernel_distance
from dmin.games.measured import Measured, References

BEHAVIOUR = {
    "reads": "features",
    "summary": "Unbiased squared maximum mean discrepancy to the training images under a cubic kernel (KID).",
    "range": "around 0 and above, smaller is nearer",
    "needs": ("train",),
}


def measure(member: Measured, against: References) -> dict[str, float]:
    return {"": kernel_distance(member.features, against.train)}
