"""Ranks of scores, as correlations of ranks take them."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata


def centred_ranks(values: np.ndarray) -> np.ndarray:
    """Return the ranks within each row of ``values [..., n]`` minus their mean; ties get their mean rank."""
    ranks: np.ndarray = rankdata(values, axis=-1)
    ranks -= ranks.mean(axis=-1, keepdims=True)
    return ranks


def rank_rows(values: np.ndarray) -> np.ndarray:
    """Return the ranks within each row, centred and of unit length; a constant row gives zeros."""
    ranks = centred_ranks(values)
    length = np.linalg.norm(ranks, axis=-1, keepdims=True)
    return np.divide(ranks, length, out=np.zeros_like(ranks), where=length > 0)


def spearman_rows(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return Spearman's correlation of each row of ``left [..., s]`` with that of ``right``; 0 where one is constant.

    The axes before the last are broadcast.
    """
    result: np.ndarray = (rank_rows(left) * rank_rows(right)).sum(axis=-1)
    return result
