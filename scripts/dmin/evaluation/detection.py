"""Detection rate: how many of the highest-ranked training samples come from the query's own subset."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypedDict

import numpy as np
import pandas as pd

from dmin.data.subsets import read_subsets
from dmin.evaluation.intervals import rate_interval
from dmin.runtime.atomic import write_csv
from dmin.runtime.parquet import read_parquet

log = logging.getLogger(__name__)

COLUMNS = ["method", "v", "backend", "subset", "k", "rate", "low", "high", "chance", "queries"]


class Rates(TypedDict):
    """Lengths ``k`` of the list at which the rate is taken, and the confidence of its interval, in 0..1."""

    k: list[int]
    confidence: float


@dataclass(frozen=True)
class RankedList:
    """One ranked list file and the method, width (empty where none) and backend that made it.

    The backend is ``exact``, ``hnsw``, or ``held_out``: exact, at the lambda chosen on other queries.
    """

    path: Path
    method: str
    v: str
    backend: str

    @classmethod
    def at(cls, path: Path) -> Self:
        """Tell method, width and backend from ``METHOD/vWIDTH/BACKEND/top.parquet``, or ``METHOD/top.parquet``."""
        if path.parent.name in ("exact", "hnsw", "held_out"):
            method, width, backend = path.parts[-4:-1]
            return cls(path, method, width.removeprefix("v"), backend)
        return cls(path, path.parent.name, "", "exact")


def hits_at(top: pd.DataFrame, k: int) -> pd.DataFrame:
    """Return each query's share of its top ``k`` that is of its own subset; columns ``query_id, query_subset, rate``.

    A noised copy has the subset ``noise`` and is never a hit.
    """
    first = top[top["rank"] <= k]
    hit = (first["sample_subset"] == first["query_subset"]).astype(float)
    rates = hit.groupby([first["query_subset"], first["query_id"]], sort=True).sum() / k
    return rates.rename("rate").reset_index()[["query_id", "query_subset", "rate"]]


def subset_shares(samples: Path) -> dict[str, float]:
    """Return each subset's share of the samples of a table."""
    subsets = list(read_subsets([samples]).values())
    return {name: subsets.count(name) / len(subsets) for name in set(subsets)}


def detection_rates(top: pd.DataFrame, chance: Mapping[str, float], evaluation: Rates) -> list[dict[str, Any]]:
    """Tabulate the detection rate of one ranked list, per subset and over subsets (``mean``), for every k.

    A query's share of hits is one observation; see :func:`rate_interval`. ``chance`` is the analytic rate of a random
    ranking, the subset's share of the training set. Source: DMin, detection rate; the interval is ours.
    """
    rows = []
    for k in evaluation["k"]:
        rates = hits_at(top, k)
        groups = {str(name): frame["rate"].to_numpy() for name, frame in rates.groupby("query_subset", sort=True)}
        for name, members in {**{name: [name] for name in groups}, "mean": list(groups)}.items():
            low, high = rate_interval([groups[member] for member in members], evaluation["confidence"])
            rows.append(
                {
                    "subset": name,
                    "k": k,
                    "rate": float(np.mean([groups[member].mean() for member in members])),
                    "low": low,
                    "high": high,
                    "chance": float(np.mean([chance[member] for member in members])),
                    "queries": sum(len(groups[member]) for member in members),
                }
            )
    return rows


def evaluate_detection(lists: Sequence[RankedList], samples: Path, evaluation: Rates, out: Path) -> None:
    """Write the detection-rate table of every ranked list.

    Args:
        samples: the training table, which gives chance.
    """
    chance = subset_shares(samples)
    rows: list[dict[str, Any]] = []
    for entry in lists:
        top = read_parquet(entry.path)
        rates = detection_rates(top, chance, evaluation)
        rows += [{"method": entry.method, "v": entry.v, "backend": entry.backend, **row} for row in rates]
        for row in rates:
            if row["subset"] == "mean":
                log.info("%s v=%s %s: DR@%d %.3f", entry.method, entry.v, entry.backend, row["k"], row["rate"])
    write_csv(pd.DataFrame(rows, columns=COLUMNS), out)
