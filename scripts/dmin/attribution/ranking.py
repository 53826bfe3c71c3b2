"""Ranked lists of training samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd


def rank_top(
    scores: np.ndarray,
    queries: Sequence[str],
    train: Sequence[str],
    subsets: Mapping[str, str],
    k: int,
) -> pd.DataFrame:
    """Rank the ``k`` highest-scored training samples of every query; ties go to the earlier sample.

    Args:
        scores: ``[queries, train]``.
        queries: query ids, in the order of the rows.
        train: sample ids, in the order of the columns.
        subsets: subset of every query and sample id.

    Returns:
        Columns ``query_id, query_subset, rank`` (from 1), ``sample_id, sample_subset, score``.
    """
    # A query at a time: the order of a whole row takes twice the memory of its scores.
    order = np.stack([np.argsort(-row, kind="stable")[:k] for row in scores])
    return ranked_frame(order, np.take_along_axis(scores, order, axis=1), queries, train, subsets)


def ranked_frame(
    order: np.ndarray, scores: np.ndarray, queries: Sequence[str], train: Sequence[str], subsets: Mapping[str, str]
) -> pd.DataFrame:
    """Tabulate ranked sample indices ``[queries, k]`` and their scores ``[queries, k]``, as :func:`rank_top` does."""
    count, k = order.shape
    samples = [train[index] for index in order.reshape(-1)]
    return pd.DataFrame(
        {
            "query_id": np.repeat(np.asarray(queries, dtype=object), k),
            "query_subset": np.repeat(np.asarray([subsets[query] for query in queries], dtype=object), k),
            "rank": np.tile(np.arange(1, k + 1), count),
            "sample_id": samples,
            "sample_subset": [subsets[sample] for sample in samples],
            "score": scores.reshape(-1).astype(np.float32),
        }
    )
