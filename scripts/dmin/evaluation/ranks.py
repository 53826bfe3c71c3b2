"""Ranks of scores, as correlations of ranks take them."""

from __future__ import annotations

import numpy as np


def average_ranks(values: np.ndarray) -> np.ndarray:
    """Return the ranks, from 1, within each row of ``values [..., n]``; ties get their mean rank, rows with NaN NaN."""
    order = np.argsort(values, axis=-1, kind="stable")
    ordered = np.take_along_axis(values, order, axis=-1)
    first = np.ones(values.shape, dtype=bool)
    first[..., 1:] = ordered[..., 1:] != ordered[..., :-1]
    ties = np.diff(np.flatnonzero(first), append=values.size)
    places = np.broadcast_to(np.arange(1, values.shape[-1] + 1), values.shape)
    ranks = np.empty(values.shape)
    np.put_along_axis(ranks, order, np.repeat(places[first] + (ties - 1) / 2, ties).reshape(values.shape), axis=-1)
    ranks[np.isnan(values).any(axis=-1)] = np.nan
    return ranks


def centred_ranks(values: np.ndarray) -> np.ndarray:
    """Return the ranks within each row of ``values [..., n]`` minus their mean; ties get their mean rank."""
    ranks = average_ranks(values)
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
