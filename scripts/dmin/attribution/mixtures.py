"""Scores of several methods in one unit, so that they can be added."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dmin.attribution.vectors import divide


def z_sum(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Return the sum of scores ``[queries, train]``, each query's first brought to mean 0 and standard deviation 1.

    Scores that are the same for all samples of a query add nothing to it.

    Returns:
        float32 ``[queries, train]``, in standard deviations.
    """
    total = np.zeros(parts[0].shape)
    for scores in parts:
        for row, values in zip(total, scores, strict=True):
            centred = values.astype(np.float64) - values.mean(dtype=np.float64)
            row += divide(centred, np.sqrt(np.mean(centred**2, keepdims=True)))
    return total.astype(np.float32)
