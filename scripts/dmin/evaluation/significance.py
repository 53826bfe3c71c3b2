"""For how many queries a method names an influence that can be relied upon, and how far its scores are off."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dmin.attribution.score_matrix import ScoreMatrix
from dmin.attribution.significance import ListSettings
from dmin.evaluation.agreement import require_same_ids
from dmin.evaluation.intervals import rate_interval
from dmin.runtime.atomic import write_csv
from dmin.runtime.parquet import read_parquet
from dmin.runtime.readers import read_json

log = logging.getLogger(__name__)

COLUMNS = [
    "method", "v", "queries", "held_out", "tested", "fdr", "least_p", "needed", "answered", "low", "high",
    "significant", "auc", "sketch_error", "probe_error", "seed_error", "seed_coverage",
]  # fmt: skip
# What scoring leaves by query.
_MEANS = ("sketch_error", "probe_error", "auc", "significant")


@dataclass(frozen=True)
class Attribution:
    """A method at a width (empty where it has none), its ranked lists by the run's model, and its scores by that and by
    those of other seeds."""

    method: str
    v: str
    top: Path
    scores: Sequence[Path]


def evaluate_significance(attributions: Sequence[Attribution], lists: ListSettings, out: Path) -> None:
    """Write a row for every method and width, from what its scoring left; what is not known is empty.

    ``answered`` is the share of queries with a significant training image, with Wilson's interval; a query without one
    has no reliable influence. ``significant`` is their mean number; of ``tested`` images, ranked among ``held_out``
    ones, none has a p-value below ``least_p``, so at least ``needed`` have to outscore all of these. ``auc`` is the
    chance that a training image outscores a held-out one. The errors are root mean squares over the samples of the
    ranked lists, over the standard deviation of a query's scores; ``seed_error`` is that between models of several
    seeds, and ``seed_coverage`` the share of the listed scores whose interval holds the score by another of them. All
    but counts of queries are means over these.

    Raises:
        UserError: a file is torn, or the scores of two seeds are of other queries or training samples.
    """
    rows = []
    for entry in attributions:
        facts = read_json(entry.scores[0].with_suffix(".json"))
        told = facts.get("significance", {})
        row: dict[str, Any] = {
            "method": entry.method,
            "v": entry.v,
            "queries": len(facts["queries"]),
            "fdr": lists["fdr"],
        }
        row |= {name: _mean(told[name]) for name in _MEANS if name in told}
        if "held_out" in told:
            row |= _power(told, lists)
            log.info("%s v=%s: %.3f of queries have a reliable influence", entry.method, entry.v, row["answered"])
        if len(entry.scores) > 1:
            row |= _across_seeds(entry)
        rows.append(row)
    write_csv(pd.DataFrame(rows, columns=COLUMNS), out)


def _power(told: dict[str, Any], lists: ListSettings) -> dict[str, float]:
    """Return the counts of a method's comparisons, and for which share of queries it has an answer."""
    held_out, tested = np.array(told["held_out"]), np.array(told["tested"])
    least = 1 / (1 + held_out)
    answered = (np.array(told["significant"]) > 0).astype(float)
    low, high = rate_interval([answered], lists["confidence"])
    # Benjamini and Hochberg's procedure finds k samples of the least p-value where k is at least this.
    needed = np.ceil(np.round(tested * least / lists["fdr"], 9))
    return {
        "held_out": float(held_out.mean()),
        "tested": float(tested.mean()),
        "least_p": float(least.mean()),
        "needed": float(needed.mean()),
        "answered": float(answered.mean()),
        "low": low,
        "high": high,
    }


def _across_seeds(entry: Attribution) -> dict[str, float]:
    """Return how far listed scores differ between models, over a query's spread, and how often intervals hold them."""
    matrices = {path: ScoreMatrix.read(path) for path in entry.scores}
    require_same_ids(matrices)
    first = matrices[entry.scores[0]]
    top = read_parquet(entry.top)
    rows, columns = ({name: place for place, name in enumerate(ids)} for ids in (first.queries, first.train))
    asked = top["query_id"].map(rows).to_numpy()
    values = np.stack([matrices[path].values.astype(np.float64) for path in entry.scores])
    listed = values[:, asked, top["sample_id"].map(columns).to_numpy()]
    variance = pd.Series(listed.var(0, ddof=1)).groupby(asked).mean().sort_index()
    spread = values[0].std(1)
    found = np.sqrt(variance.to_numpy()) / np.where(spread > 0, spread, np.nan)[variance.index]
    inside = (listed[1:] >= top["low"].to_numpy(dtype=float)) & (listed[1:] <= top["high"].to_numpy(dtype=float))
    return {
        "seed_error": float(np.nanmean(found)) if np.isfinite(found).any() else math.nan,
        "seed_coverage": math.nan if top["low"].isna().all() else float(inside[:, top["low"].notna()].mean()),
    }


def _mean(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else math.nan
