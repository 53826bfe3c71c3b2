"""What every scoring job writes, whatever its inputs."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dmin.attribution.ranking import rank_top, with_judgement
from dmin.attribution.significance import Judged
from dmin.runtime.atomic import write_array, write_json, write_parquet
from dmin.runtime.errors import UserError
from dmin.runtime.meter import Meter
from dmin.runtime.provenance import PROVENANCE, provenance

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScoreFiles:
    """Where a scoring job writes.

    Attributes:
        scores: the matrix ``[queries, train]``, ``.npy``.
        description: its ids, how it was made and its provenance, ``.json``.
        top: the ranked lists, ``.parquet``.
        metrics: what the job cost, ``.json``.
    """

    scores: Path
    description: Path
    top: Path
    metrics: Path


@dataclass(frozen=True)
class Scored:
    """The scores of a method and what they were made from.

    Attributes:
        method: its name.
        values: float32 ``[queries, train]``.
        queries: ids of the rows; ``train`` likewise of the columns.
        facts: what is recorded beside the ids.
        config: the settings that the scores depend on, but for the method and the length of the ranked lists.
        made_from: digests by role, as :func:`provenance` takes them.
        judged: what is said of the ranked samples beside their scores, where that is known.
    """

    method: str
    values: np.ndarray
    queries: Sequence[str]
    train: Sequence[str]
    facts: Mapping[str, Any]
    config: Mapping[str, Any]
    made_from: Mapping[str, str]
    judged: Judged | None = None


def check_top_k(top_k: int, count: int) -> None:
    """Refuse ranked lists longer than the training set.

    Raises:
        UserError: they are.
    """
    if top_k > count:
        raise UserError(f"influence.top_k is {top_k}, but the training set has {count} samples; lower it.")


def write_scores(scored: Scored, subsets: Mapping[str, str], top_k: int, files: ScoreFiles, meter: Meter) -> None:
    """Write the matrix, its description, the ranked lists of length ``top_k``, and what ``meter`` measured.

    Args:
        subsets: subset of every query and training sample.

    Raises:
        UserError: a score is not finite.
    """
    values, config = scored.values, {"method": scored.method, **scored.config, "top_k": top_k}
    if not np.isfinite(values).all():
        cause = "the gradient cache's log" if "timesteps" in scored.facts else "its inputs"
        raise UserError(f"Method {scored.method} gave scores that are not finite; check {cause}.")
    write_array(values, files.scores)
    top = rank_top(values, scored.queries, scored.train, subsets, top_k)
    write_parquet(top if scored.judged is None else with_judgement(top, scored.judged), files.top)
    made = provenance(config, scored.made_from, {"scores": files.scores, "top": files.top})
    ids = {"queries": scored.queries, "train": scored.train}
    told = {} if scored.judged is None else {"significance": scored.judged.facts}
    write_json({**scored.facts, **told, **ids, PROVENANCE: made}, files.description)
    counts = {"queries": len(scored.queries), "samples": len(scored.train)}
    if "kept_width" in scored.facts:
        # Half-precision values of every training sample.
        counts["kept_bytes"] = 2 * scored.facts["kept_width"] * len(scored.train)
    meter.write(files.metrics, method=scored.method, **counts, bytes=files.scores.stat().st_size)
    log.info("%s: %d x %d scores in %.2f s", scored.method, *values.shape, meter.seconds)
