"""Ranked lists of training samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from dmin.attribution.significance import Judged


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
        As :func:`ranked_frame`.
    """
    order = top_places(scores, k)
    return ranked_frame(order, np.take_along_axis(scores, order, axis=1), queries, train, subsets)


def top_places(scores: np.ndarray, k: int) -> np.ndarray:
    """Return the columns of the ``k`` highest of each row of ``scores [queries, train]``; ties go to the earlier."""
    # A query at a time: the order of a whole row takes twice the memory of its scores.
    return np.stack([np.argsort(-row, kind="stable")[:k] for row in scores])


def ranked_frame(
    order: np.ndarray, scores: np.ndarray, queries: Sequence[str], train: Sequence[str], subsets: Mapping[str, str]
) -> pd.DataFrame:
    """Tabulate ranked sample indices ``[queries, k]`` and their scores ``[queries, k]``.

    Returns:
        Columns ``query_id, query_subset, rank`` (from 1), ``sample_id, sample_subset, score``, and ``p_value,
        significant, low, high``, which are missing until :func:`with_judgement` fills them in.
    """
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
            "p_value": np.nan,
            "significant": pd.array([pd.NA] * len(samples), dtype="boolean"),
            "low": np.nan,
            "high": np.nan,
        }
    )


def with_judgement(top: pd.DataFrame, judged: Judged) -> pd.DataFrame:
    """Return ranked lists with what is said of their samples."""
    ends = {"p_value": judged.p_value, "low": judged.low, "high": judged.high}
    told: dict[str, Any] = {name: values.reshape(-1) for name, values in ends.items()}
    if judged.found is not None:
        told["significant"] = pd.array(judged.found.reshape(-1), dtype="boolean")
        # Without a p-value nothing was asked.
        told["significant"][np.isnan(judged.p_value.reshape(-1))] = pd.NA
    return top.assign(**told)
