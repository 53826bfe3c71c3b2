"""How far methods agree on the order of the training samples."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dmin.attribution.score_matrix import ScoreMatrix
from dmin.evaluation.intervals import mean_interval
from dmin.evaluation.ranks import centred_ranks
from dmin.runtime.atomic import write_csv
from dmin.runtime.errors import UserError

log = logging.getLogger(__name__)

COLUMNS = ["method", "other", "spearman", "low", "high", "overlap", "k", "queries"]


def rank_correlations(scores: np.ndarray) -> np.ndarray:
    """Return Spearman's correlation of one query's ``scores [methods, train]``, ``[methods, methods]``.

    Ties get their mean rank. A method that scores every sample alike orders nothing: its row and column are NaN.
    """
    ranks = centred_ranks(scores)
    lengths = np.linalg.norm(ranks, axis=1)
    with np.errstate(invalid="ignore"):
        return ranks @ ranks.T / np.outer(lengths, lengths)


def top_overlaps(scores: np.ndarray, k: int) -> np.ndarray:
    """Return the share of common samples among the top ``k`` of two methods, ``[methods, methods]``, of one query."""
    chosen = np.zeros(scores.shape, dtype=np.float32)
    np.put_along_axis(chosen, np.argsort(-scores, axis=1, kind="stable")[:, :k], 1.0, axis=1)
    return chosen @ chosen.T / k


def evaluate_agreement(scores: Mapping[str, Path], k: int, confidence: float, out: Path) -> None:
    """Write the agreement of every pair of methods, averaged over queries.

    Columns ``method, other, spearman, low, high, overlap, k, queries``: Spearman's correlation over all training
    samples in [-1, 1] with Student's interval over queries, cut to that range, and the share of common samples in the
    top ``k``. Queries on which one of the two orders nothing are left out of both means; ``queries`` counts the others.

    Args:
        scores: the score matrix ``[queries, train]`` of each method; the ids stand beside it in ``scores.json``.

    Raises:
        UserError: two matrices differ in their queries or training samples, or ``k`` exceeds the training set.
    """
    matrices = {path: ScoreMatrix.read(path) for path in scores.values()}
    require_same_ids(matrices)
    count, train = next(iter(matrices.values())).values.shape
    if k > train:
        raise UserError(f"The agreement of the top {k} needs {k} training samples, but there are {train}; lower k.")
    # A query at a time: all rows of all methods do not fit into memory.
    rows = (np.stack([matrix.values[query] for matrix in matrices.values()]) for query in range(count))
    measured = [(rank_correlations(values), top_overlaps(values, k)) for values in rows]
    correlations = np.stack([correlation for correlation, _ in measured])
    # The top of what orders nothing is that of the file.
    ordered = np.isfinite(correlations)
    with np.errstate(invalid="ignore"):
        overlaps = np.sum([overlap for _, overlap in measured], axis=0, where=ordered) / ordered.sum(0, np.float32)
    names, table = list(scores), []
    for first, method in enumerate(names):
        for second, other in enumerate(names):
            facts = mean_correlation(correlations[:, first, second], confidence)
            table.append({"method": method, "other": other, **facts, "overlap": overlaps[first, second], "k": k})
    write_csv(pd.DataFrame(table, columns=COLUMNS), out)
    log.info("agreement of %d methods on %d queries", len(names), count)


def mean_correlation(values: np.ndarray, confidence: float) -> dict[str, Any]:
    """Return the mean ``spearman`` of correlations ``[queries]``, the ends of its interval, and of how many queries.

    The interval is Student's, cut to [-1, 1]. A correlation that is NaN, of what orders nothing, does not count.
    """
    known = values[np.isfinite(values)]
    low, high = np.clip(mean_interval(known, confidence), -1, 1)
    mean = known.mean() if len(known) else np.nan
    return {"spearman": mean, "low": low, "high": high, "queries": len(known)}


def require_same_ids(matrices: Mapping[Path, ScoreMatrix]) -> None:
    """Refuse matrices of other queries or training samples.

    Raises:
        UserError: naming two files that differ.
    """
    first, *others = matrices
    for path in others:
        for key in ("queries", "train"):
            if getattr(matrices[path], key) != getattr(matrices[first], key):
                raise UserError(f"Scores '{path}' and '{first}' name other {key}; delete both and run again.")
