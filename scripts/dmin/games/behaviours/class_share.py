"""Share of every class among what a member generates."""

from __future__ import annotations

from dmin.games.measured import Measured, References

BEHAVIOUR = {
    "reads": "images",
    "summary": "Share of the images that the classifier gives to each class.",
    "range": "[0, 1]",
    "needs": ("classifier",),
}


def measure(member: Measured, against: References) -> dict[str, float]:
    found, _ = against.classifier.classify(member.images)
    return {name: float((found == name).mean()) for name in against.classifier.classes}
