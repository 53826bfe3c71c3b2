"""Score the training samples of a run by a method that sums over checkpoints, from files to files."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dmin.attribution.checkpoints import Checkpoint, checkpoint_weights
from dmin.attribution.gradient_rows import GradientRows
from dmin.attribution.outputs import check_top_k, write_scores
from dmin.attribution.registry import find_method
from dmin.data.subsets import read_subsets
from dmin.runtime.digests import config_digest
from dmin.runtime.errors import UserError
from dmin.runtime.meter import Meter

log = logging.getLogger(__name__)


def score_checkpoints(
    method: str,
    train_shards: Sequence[Path],
    query_shards: Sequence[Path],
    train_sketches: Sequence[Path],
    query_sketches: Sequence[Path],
    checkpoints: Path,
    train: Mapping[str, Any],
    samples: Sequence[Path],
    top_k: int,
    scores: Path,
    description: Path,
    top: Path,
    metrics: Path,
) -> None:
    """Write the scores ``[queries, train]`` fp32 of ``method``, their ids, and the ranked lists of length ``top_k``.

    Args:
        train_shards: of all checkpoints, checkpoint by checkpoint. Likewise ``query_shards``.
        train_sketches: one for each checkpoint. Likewise ``query_sketches``.
        checkpoints: the folder of the model's checkpoints.
        train: the model's training settings.
        samples: tables that name the subset of every query and training sample.

    Raises:
        UserError: the method sums over no checkpoints, a file is torn, settings differ, a score is not finite, or
            ``top_k`` exceeds the training set.
    """
    chosen = find_method(method)
    if chosen.inputs != "checkpoints":
        raise UserError(f"Method {method} sums over no checkpoints; score it from its own inputs.")
    facts = json.loads((checkpoints / "checkpoints.json").read_text())
    with Meter() as meter:
        sides = []
        for shards, sketches in ((query_shards, query_sketches), (train_shards, train_sketches)):
            each = len(shards) // len(facts)
            sides.append(
                [
                    GradientRows(shards[place * each : (place + 1) * each], sketch)
                    for place, sketch in enumerate(sketches)
                ]
            )
        count = len(sides[1][0].ids)
        check_top_k(top_k, count)
        weights = checkpoint_weights(facts, train["batch_size"], count)
        points = [Checkpoint(*entry) for entry in zip(sides[0], sides[1], weights, strict=True)]
        values = chosen.scores(points, {})
    first = points[0]
    described = {key: value for key, value in first.train.metadata.items() if key not in ("feature", "model")}
    described |= {"method": method, "width": first.train.width, "checkpoints": facts, "weights": weights}
    described["query_gradients"] = {key: first.queries.metadata[key] for key in ("timesteps", "draws", "noise")}
    subsets = read_subsets(samples)
    digests = [config_digest([rows.digest for rows in side]) for side in sides]
    made_from = {"queries": digests[0], "train": digests[1]}
    ids, config = (first.queries.ids, first.train.ids), {"method": method, "train": train}
    write_scores(values, *ids, subsets, top_k, described, scores, description, top, config, made_from)
    meter.write(metrics, method=method, queries=len(values), samples=count, bytes=scores.stat().st_size)
    log.info("%s: %d x %d scores from %d checkpoints in %.2f s", method, *values.shape, len(points), meter.seconds)
