"""Ranked lists for people and spreadsheets: with files, captions and shares instead of ids alone."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dmin.attribution.sample_tables import SampleTables
from dmin.data.samples import iter_samples, read_samples
from dmin.runtime.atomic import write_csv, write_json
from dmin.runtime.parquet import read_parquet

RANKING_COLUMNS = (
    "query", "query_file", "rank", "sample", "file", "caption", "score", "share",
    "p_value", "significant", "low", "high",
)  # fmt: skip
# Six digits of a share or a p-value are more than a reader compares.
_DIGITS = 6


def write_ranking(top: Path, tables: SampleTables, csv: Path, json: Path) -> None:
    """Write ranked lists with what a reader knows queries and samples by, as CSV and as JSON with equal rows.

    Raises:
        UserError: a table is missing, torn, or lacks a ranked sample.
    """
    ranked = read_parquet(top)
    samples = read_samples(tables.train, ["id", "prompt", "origin"], set(ranked["sample_id"]))
    files = {row["id"]: (row["image"] or {}).get("path") or "" for row in iter_samples(tables.queries, ["id", "image"])}
    table = ranking_table(ranked, samples, files)
    write_csv(table, csv)
    write_json({"ranking": table.to_dict("records")}, json)


def ranking_table(top: pd.DataFrame, samples: pd.DataFrame, query_files: dict[str, str]) -> pd.DataFrame:
    """Return ranked lists with the columns of :data:`RANKING_COLUMNS`.

    Args:
        top: ranked lists, as :func:`dmin.attribution.ranking.rank_top` gives them.
        samples: columns ``id, prompt, origin`` of the ranked samples; the origin is the ``file``.
        query_files: file of each query, empty where it has none.

    Returns:
        One row per query and rank. ``share``, in [0, 1] and rounded to six digits, is the score over the sum of all
        positive scores in the list of its query; 0 for a score that is not positive. What is not known of a row is
        None.
    """
    known = samples.set_index("id").loc[top["sample_id"]]
    scores = _shortest(top["score"])
    totals: dict[str, list[float]] = {}
    for query, score in zip(top["query_id"], scores, strict=True):
        totals.setdefault(query, []).append(max(score, 0.0))
    sums = {query: math.fsum(values) for query, values in totals.items()}
    shares = [
        round(max(score, 0.0) / sums[query], _DIGITS) if sums[query] else 0.0
        for query, score in zip(top["query_id"], scores, strict=True)
    ]
    columns = (
        top["query_id"].tolist(), [query_files[query] for query in top["query_id"]], top["rank"].tolist(),
        top["sample_id"].tolist(), known["origin"].fillna("").tolist(), known["prompt"].fillna("").tolist(),
        scores, shares, [round(value, _DIGITS) for value in top["p_value"]],
        [None if pd.isna(value) else bool(value) for value in top["significant"]],
        _shortest(top["low"]), _shortest(top["high"]),
    )  # fmt: skip
    named: dict[str, Any] = dict(zip(RANKING_COLUMNS, columns, strict=True))
    for name in ("p_value", "significant", "low", "high"):
        # As objects, which keep None beside numbers.
        named[name] = pd.Series([None if pd.isna(value) else value for value in named[name]], dtype=object)
    return pd.DataFrame(named)


def _shortest(values: Iterable[float]) -> list[float]:
    """Return the shortest numbers that read back to the same float32, in CSV and JSON alike."""
    return [float(str(np.float32(value))) for value in values]
