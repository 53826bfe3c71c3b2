"""Detection by what a query and a sample share beside their subset: two subsets are soon told apart, labels are not."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dmin.data.samples import read_samples
from dmin.data.subsets import NOISE_SUBSET
from dmin.evaluation.detection import RankedList, Rates, detection_rates
from dmin.runtime.atomic import write_csv
from dmin.runtime.errors import UserError
from dmin.runtime.parquet import read_parquet

log = logging.getLogger(__name__)

COLUMNS = ["method", "v", "backend", "query_set", "facet", "k", "rate", "low", "high", "chance", "queries"]
FACETS = ("subset", "label")


def evaluate_facets(
    lists: Sequence[RankedList], tables: tuple[Path, Path], query_set: str, evaluation: Rates, out: Path
) -> None:
    """Write the detection rate of every ranked list by subset and by label.

    A hit by label is a sample with the label of the query, whatever its subset; noised copies are never hits. Queries
    without a label take no part in its rows. Each row is the mean over the values of its facet.

    Args:
        tables: the training samples and the queries, with ``id, subset, label``.
        query_set: where the queries are from, ``generated`` or ``held_out``.

    Raises:
        UserError: no query has a label.
    """
    samples, queries = (read_samples(path, ["id", *FACETS]).set_index("id") for path in tables)
    if queries["label"].isna().all():
        raise UserError(
            "No query has a label to detect, although a source names its label_column; correct the column, or set it "
            "to null."
        )
    rows: list[dict[str, Any]] = []
    for entry in lists:
        top = read_parquet(entry.path)
        facts = {"method": entry.method, "v": entry.v, "backend": entry.backend, "query_set": query_set}
        for facet in FACETS:
            found = _mean_rates(top, samples, queries[facet].dropna(), evaluation)
            rows += [{**facts, "facet": facet, **row} for row in found]
            for row in found:
                log.info("%s v=%s %s: same %s@%d %.3f", *list(facts.values())[:3], facet, row["k"], row["rate"])
    write_csv(pd.DataFrame(rows, columns=COLUMNS), out)


def _mean_rates(
    top: pd.DataFrame, samples: pd.DataFrame, queries: pd.Series, evaluation: Rates
) -> list[dict[str, Any]]:
    """Return the rate at every k, where a hit is a sample with the query's value of the facet of ``queries``."""
    values = samples[str(queries.name)].where(samples["subset"] != NOISE_SUBSET)
    known = top[top["query_id"].isin(queries.index)]
    facet = known.assign(query_subset=known["query_id"].map(queries), sample_subset=known["sample_id"].map(values))
    chance = {value: float((values == value).mean()) for value in queries.unique()}
    return [row for row in detection_rates(facet, chance, evaluation) if row["subset"] == "mean"]
