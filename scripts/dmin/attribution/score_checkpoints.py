"""Score the training samples of a run by a method that sums over checkpoints, from files to files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dmin.attribution.checkpoints import Checkpoint, checkpoint_weights
from dmin.attribution.gradient_files import GradientSides
from dmin.attribution.outputs import Scored, ScoreFiles, check_top_k, write_scores
from dmin.attribution.registry import find_method
from dmin.attribution.sample_tables import SampleTables
from dmin.models.training.checkpoints import read_checkpoints
from dmin.runtime.digests import config_digest
from dmin.runtime.errors import UserError
from dmin.runtime.meter import Meter
from dmin.settings.models import Train


@dataclass(frozen=True)
class Training:
    """A training: the folder of its checkpoints, and its settings."""

    checkpoints: Path
    settings: Train


def score_checkpoints(
    method: str,
    sides: Sequence[GradientSides],
    training: Training,
    tables: SampleTables,
    top_k: int,
    files: ScoreFiles,
) -> None:
    """Write the scores ``[queries, train]`` fp32 of ``method``, their ids, and the ranked lists of length ``top_k``.

    A sample counts as often as an epoch sees it, its ``repeats``.

    Args:
        sides: the gradients at each checkpoint, in the order of the steps.

    Raises:
        UserError: the method sums over no checkpoints, a file is torn, settings differ, a score is not finite, or
            ``top_k`` exceeds the training set.
    """
    chosen = find_method(method)
    if chosen.inputs != "checkpoints":
        raise UserError(f"Method {method} sums over no checkpoints; score it from its own inputs.")
    facts = read_checkpoints(training.checkpoints)
    with Meter() as meter:
        read = [side.read() for side in sides]
        first_queries, first_train = read[0]
        count = len(first_train.ids)
        check_top_k(top_k, count)
        repeats = tables.repeats(first_train.ids)
        weights = checkpoint_weights(facts, training.settings["batch_size"], int(repeats.sum()))
        points = [Checkpoint(*pair, weight) for pair, weight in zip(read, weights, strict=True)]
        values = chosen.scores(points) * repeats.astype(np.float32)
    described = {key: value for key, value in first_train.metadata.items() if key not in ("cache", "model")}
    described |= {"method": method, "width": first_train.width, "checkpoints": facts, "weights": weights}
    if (repeats != 1).any():
        described["repeats"] = repeats.tolist()
    described["query_gradients"] = {key: first_queries.metadata[key] for key in ("timesteps", "draws", "noise")}
    made_from = {
        "queries": config_digest([point.queries.digest for point in points]),
        "train": config_digest([point.train.digest for point in points]),
    }
    config = {"train": training.settings}
    scored = Scored(method, values, first_queries.ids, first_train.ids, described, config, made_from)
    write_scores(scored, tables.subsets(), top_k, files, meter)
