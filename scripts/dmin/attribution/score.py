"""Score the training samples of a run by one method that reads gradients, from files to files."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dmin.attribution.gradient_rows import GradientRows
from dmin.attribution.outputs import check_top_k, write_scores
from dmin.attribution.registry import find_method
from dmin.data.subsets import read_subsets
from dmin.runtime.errors import UserError
from dmin.runtime.meter import Meter

log = logging.getLogger(__name__)


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
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Write the scores ``[queries, train]`` fp32 of ``method``, their ids, and the ranked lists of length ``top_k``.

    Args:
        train_sketch: compressed gradients; None scores the uncompressed ones of the shards. Likewise ``query_sketch``.
        samples: tables that name the subset of every query and training sample.
        settings: of the method; None leaves its defaults.

    Raises:
        UserError: the method is unknown or reads no gradients, a file is torn, settings differ or are out of range,
            a score is not finite, or ``top_k`` exceeds the training set.
    """
    entry = find_method(method)
    if entry.inputs != "gradients":
        raise UserError(f"Method {method} reads no gradients; score it from the sample tables.")
    options = settings or {}
    with Meter() as meter:
        train = GradientRows(train_shards, train_sketch)
        queries = GradientRows(query_shards, query_sketch)
        check_top_k(top_k, len(train.ids))
        subsets = read_subsets(samples)
        values, found = entry.run(queries, train, options, subsets)
    facts = {**train.metadata, "method": method, "width": train.width, **found}
    differing = {key: value for key, value in queries.metadata.items() if train.metadata.get(key) != value}
    if differing:
        facts["query_gradients"] = differing
    made_from = {"train": train.digest, "queries": queries.digest}
    config = {"method": method, "options": options}
    write_scores(values, queries.ids, train.ids, subsets, top_k, facts, scores, description, top, config, made_from)
    meter.write(metrics, method=method, queries=len(queries.ids), samples=len(train.ids), bytes=scores.stat().st_size)
    log.info("%s: %d x %d scores in %.2f s", method, *values.shape, meter.seconds)
