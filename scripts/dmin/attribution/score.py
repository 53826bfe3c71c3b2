"""Score the training samples of a run by one method, from files to files."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dmin.attribution.dmin import dmin_scores
from dmin.attribution.gradient_rows import GradientRows
from dmin.attribution.ranking import rank_top
from dmin.attribution.subsets import read_subsets
from dmin.data.atomic import atomic_path, write_json, write_parquet
from dmin.errors import UserError
from dmin.evaluation.meter import Meter

log = logging.getLogger(__name__)

NORMALISED = {"dmin": True, "dmin_no_norm": False}


def score(
    method: str,
    train_shards: Sequence[Path],
    query_shards: Sequence[Path],
    train_sketch: Path | None,
    query_sketch: Path | None,
    samples: Sequence[Path],
    top_k: int,
    scores: Path,
    description: Path,
    top: Path,
    metrics: Path,
) -> None:
    """Write the scores ``[queries, train]`` fp32 of ``method``, their ids, and the ranked lists of length ``top_k``.

    Args:
        train_sketch: compressed gradients; None scores the uncompressed ones of the shards. Likewise ``query_sketch``.
        samples: tables that name the subset of every query and training sample.

    Raises:
        UserError: a file is torn, the settings differ, a score is not finite, or ``top_k`` exceeds the training set.
    """
    with Meter() as meter:
        train = GradientRows(train_shards, train_sketch)
        queries = GradientRows(query_shards, query_sketch)
        if top_k > len(train.ids):
            raise UserError(f"influence.top_k is {top_k}, but the training set has {len(train.ids)} samples; lower it.")
        values = dmin_scores(queries, train, NORMALISED[method])
    if not np.isfinite(values).all():
        raise UserError(f"Method {method} gave scores that are not finite; check the gradient cache's log.")
    with atomic_path(scores) as temporary:
        np.save(temporary, values)
    write_json({**train.metadata, "method": method, "width": train.width, "queries": queries.ids, "train": train.ids},
               description)  # fmt: skip
    write_parquet(rank_top(values, queries.ids, train.ids, read_subsets(samples), top_k), top)
    meter.write(metrics, method=method, queries=len(queries.ids), samples=len(train.ids), bytes=scores.stat().st_size)
    log.info("%s: %d x %d scores in %.2f s", method, *values.shape, meter.seconds)
