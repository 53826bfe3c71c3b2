"""Ranks of scores, as correlations of ranks take them."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata


def centred_ranks(values: np.ndarray) -> np.ndarray:
    """Return the ranks within each row of ``values [..., n]`` minus their mean; ties get their mean rank."""
    ranks: np.ndarray = rankdata(values, axis=-1)
    ranks -= ranks.mean(axis=-1, keepdims=True)
    return ranks
