"""What every scoring job writes, whatever its inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dmin.attribution.ranking import rank_top
from dmin.runtime.atomic import atomic_path, write_json, write_parquet
from dmin.runtime.errors import UserError
from dmin.runtime.provenance import PROVENANCE, provenance


def check_top_k(top_k: int, count: int) -> None:
    """Refuse ranked lists longer than the training set.

    Raises:
        UserError: they are.
    """
    if top_k > count:
        raise UserError(f"influence.top_k is {top_k}, but the training set has {count} samples; lower it.")


def write_scores(
    values: np.ndarray,
    queries: Sequence[str],
    train: Sequence[str],
    subsets: Mapping[str, str],
    top_k: int,
    facts: Mapping[str, Any],
    scores: Path,
    description: Path,
    top: Path,
    config: Mapping[str, Any],
    made_from: Mapping[str, str],
) -> None:
    """Write the matrix ``[queries, train]``, its ids with ``facts`` on how it was made, and the ranked lists.

    The JSON file holds the provenance too: ``config`` and ``made_from`` as :func:`provenance` takes them.

    Raises:
        UserError: a score is not finite; ``facts["method"]`` is named.
    """
    if not np.isfinite(values).all():
        cause = "the gradient cache's log" if "timesteps" in facts else "its inputs"
        raise UserError(f"Method {facts['method']} gave scores that are not finite; check {cause}.")
    with atomic_path(scores) as temporary:
        np.save(temporary, values)
    write_parquet(rank_top(values, queries, train, subsets, top_k), top)
    made = provenance({**config, "top_k": top_k}, made_from, {"scores": scores, "top": top})
    write_json({**facts, "queries": queries, "train": train, PROVENANCE: made}, description)
