"""Scaled DMin and centred pixels, added in standard deviations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dmin.attribution.mixtures import z_sum

METHOD = {
    "inputs": "scores",
    "summary": "`dmin_scaled` and `pixels_centred`, added query by query in standard deviations.",
    "score": "`z_i(dmin_scaled) + z_i(pixels_centred)`, z over the training samples of a query",
    "range": "standard deviations",
    "label": "DMin, scaled, with pixels",
    "look": ("#D55E00", "D", "dashdot"),
    "parts": ("dmin_scaled", "pixels_centred"),
}


def scores(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Return the sum of both scores ``[queries, train]``, each standardised over the samples of a query; float32.

    What a gradient tells and what the image tells err in different places. The weights are equal and not learned. Ours.
    """
    return z_sum(parts)
