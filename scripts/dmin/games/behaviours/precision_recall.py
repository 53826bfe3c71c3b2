"""Improved precision and recall of what a member generates."""

from __future__ import annotations

from dmin.games.feature_distances import covered_share
from dmin.games.measured import Measured, References

BEHAVIOUR = {
    "reads": "features",
    "summary": "Share of generated images among the training images (precision), and the other way (recall).",
    "range": "[0, 1]",
    "needs": ("train",),
}


def measure(member: Measured, against: References) -> dict[str, float]:
    return {
        "precision": covered_share(member.features, against.train),
        "recall": covered_share(against.train, member.features),
    }
