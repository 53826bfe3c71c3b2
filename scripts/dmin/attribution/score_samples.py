"""Score the training samples of a run by one method that reads no gradients, from files to files."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dmin.attribution.outputs import check_top_k, write_scores
from dmin.attribution.registry import find_method
from dmin.data.samples import read_samples
from dmin.runtime.digests import file_digest
from dmin.runtime.errors import UserError
from dmin.runtime.meter import Meter

log = logging.getLogger(__name__)

# What sets the pace and no score.
SPEED = ("device", "batch")


def score_samples(
    method: str,
    samples: Path,
    queries: Path,
    settings: Mapping[str, Any],
    top_k: int,
    scores: Path,
    description: Path,
    top: Path,
    metrics: Path,
) -> None:
    """Write the scores ``[queries, train]`` fp32 of ``method``, their ids, and the ranked lists of length ``top_k``.

    Args:
        samples: table of the training samples; ``queries`` likewise. Only the columns that the method needs are read.
        settings: of the method; those that the scores depend on are recorded beside the scores.

    Raises:
        UserError: the method is unknown or reads gradients, a table or image is unreadable, a setting is out of
            range, a score is not finite, or ``top_k`` exceeds the training set.
    """
    entry = find_method(method)
    if entry.inputs not in ("nothing", "samples"):
        raise UserError(f"Method {method} reads gradients; score it from the gradient cache.")
    with Meter() as meter:
        train, asked = (read_samples(path, ["id", "subset", *entry.columns]) for path in (samples, queries))
        check_top_k(top_k, len(train))
        values = entry.scores(asked, train, settings)
    subsets = {
        name: subset for frame in (train, asked) for name, subset in zip(frame["id"], frame["subset"], strict=True)
    }
    facts = {"method": method, **entry.facts(settings)}
    ids = asked["id"].tolist(), train["id"].tolist()
    made_from = {"train": file_digest(samples), "queries": file_digest(queries)}
    config = {"method": method, "options": {key: settings[key] for key in settings if key not in SPEED}}
    write_scores(values, *ids, subsets, top_k, facts, scores, description, top, config, made_from)
    meter.write(metrics, method=method, queries=len(asked), samples=len(train), bytes=scores.stat().st_size)
    log.info("%s: %d x %d scores in %.2f s", method, *values.shape, meter.seconds)
