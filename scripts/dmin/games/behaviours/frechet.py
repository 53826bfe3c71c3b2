"""Fréchet distance between what a member generates and the training images."""

from __future__ import annotations

from dmin.games.feature_distances import frechet_distance
from dmin.games.measured import Measured, References

BEHAVIOUR = {
    "reads": "features",
    "summary": "Fréchet distance of generated to training images, between Gaussians on the encoder's features.",
    "range": "≥ 0, smaller is nearer",
    "needs": ("train",),
}


def measure(member: Measured, against: References) -> dict[str, float]:
    return {"": frechet_distance(member.features, against.train)}
