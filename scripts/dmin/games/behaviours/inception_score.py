"""Inception score, by the game's classifier."""

from __future__ import annotations

import numpy as np

from dmin.games.measured import Measured, References

BEHAVIOUR = {
    "reads": "images",
    "summary": "Inception score by the game's classifier: how sure it is of each image, and of how many classes.",
    "range": "[1, number of classes]",
    "needs": ("classifier",),
}


def measure(member: Measured, against: References) -> dict[str, float]:
    classes = against.classifier.probabilities(member.images).astype(np.float64)
    shares = classes.mean(axis=0)
    # 0 log 0 is 0.
    logs = np.log(np.maximum(classes, 1e-300)) - np.log(np.maximum(shares, 1e-300))
    return {"": float(np.exp((classes * logs).sum(axis=1).mean()))}
