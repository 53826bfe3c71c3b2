"""Entropy of the classes, or of the clusters of training images, that a member generates."""

from __future__ import annotations

import numpy as np

from dmin.games.feature_distances import nearest_cluster
from dmin.games.measured import Measured, References

BEHAVIOUR = {
    "reads": "images",
    "summary": "Shannon entropy of the images over the classifier's classes, or over clusters of training images.",
    "range": "[0, log2 of the number of classes or clusters] bits",
    "needs": ("groups",),
}


def measure(member: Measured, against: References) -> dict[str, float]:
    if against.clusters is not None:
        found = nearest_cluster(member.features, against.train, against.clusters)
    else:
        found, _ = against.classifier.classify(member.images)
    _, counts = np.unique(found, return_counts=True)
    shares = counts / counts.sum()
    return {"": float(-(shares * np.log2(shares)).sum()) + 0.0}
