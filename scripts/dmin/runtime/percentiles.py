"""Intervals from resamples."""

from __future__ import annotations

from typing import TypedDict

import numpy as np


class Interval(TypedDict):
    """How an interval is drawn: the number of resamples, the share of them within, in 0..1, and the seed."""

    bootstrap: int
    confidence: float
    seed: int


def percentile_interval(resamples: np.ndarray, confidence: float) -> np.ndarray:
    """Return the low and the high end, ``[2, ...]``, of the interval that holds ``confidence`` of the resamples.

    Args:
        resamples: resampled values ``[resamples, ...]``.
        confidence: share of the resamples within, in 0..1.
    """
    ends: np.ndarray = np.percentile(resamples, [50 * (1 - confidence), 50 * (1 + confidence)], axis=0)
    return ends
