"""How much a query's loss rises when what a method ranks first for it was never trained on."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dmin.evaluation.intervals import crossed_mean
from dmin.evaluation.retrained import read_losses
from dmin.retraining.removal_names import NONE, RANDOM
from dmin.runtime.atomic import write_csv
from dmin.runtime.errors import UserError
from dmin.runtime.meter import hardware_label
from dmin.runtime.parquet import read_parquet

log = logging.getLogger(__name__)

COLUMNS = [
    "method", "v", "k", "difference", "low", "high", "over_random", "over_random_low", "over_random_high", "over_dmin",
    "over_dmin_low", "over_dmin_high", "queries", "seeds", "hardware",
]  # fmt: skip
# What the columns over_dmin compare with.
REFERENCE = "dmin"
_PAIR = ["query_id", "repeat"]


@dataclass(frozen=True)
class Deleted:
    """The files of one removal, each of whose sets was removed and the model trained again.

    Attributes:
        losses: of queries under the models; see :func:`measure_losses`.
        removed: what each set leaves out, and for which query; see :func:`write_removals`.
        v: the width of the method's scores, empty where there is none.
    """

    losses: Sequence[Path]
    removed: Path
    v: str


def evaluate_top_deletion(deleted: Mapping[str, Deleted], confidence: float, out: Path) -> None:
    """Write how much each method's own top k raises the losses of the queries that it is for.

    ``difference`` is the loss after the removal minus that of the model retrained on everything with the same seed, the
    mean over queries; larger where what was removed mattered more. ``over_random`` is the same minus the removal of k
    random samples, ``over_dmin`` minus that of DMin's top k, both of the same query and seed. Intervals have the error
    by queries and by training seeds, and by random draws where there are two and random removal is one side; see
    :func:`crossed_mean`. A single seed has no error by seeds. Source: the removal of D-TRAK and K-FAC influence,
    judged by the loss; the controls and intervals are ours.

    Args:
        deleted: by method, ``none`` and ``random`` among them.

    Raises:
        UserError: the losses of a retraining are missing.
    """
    whole = _mean_losses(deleted[NONE].losses)
    rises = {name: _rises(name, files, whole) for name, files in deleted.items() if name != NONE}
    rows = []
    for name, table in rises.items():
        for k, mine in table.groupby("k"):
            parts = [crossed_mean(mine.groupby(_PAIR)["rise"].mean(), confidence, _drawn(mine))]
            for other in (RANDOM, REFERENCE):
                base = rises[other][rises[other]["k"] == k] if other in rises and other != name else mine[:0]
                parts.append(_over(mine, base, confidence))
            facts = [mine["query_id"].nunique(), mine["repeat"].nunique(), hardware_label()]
            rows.append([name, deleted[name].v, k, *parts[0], *parts[1], *parts[2], *facts])
            log.info("%s, %d removed: %+.5f, %+.5f over random (%+.5f to %+.5f)", name, k, parts[0][0], *parts[1])
    write_csv(pd.DataFrame(rows, columns=COLUMNS), out)


def _mean_losses(files: Sequence[Path]) -> pd.DataFrame:
    """Return the mean loss over all timesteps, columns ``set, repeat, query_id, loss``."""
    table = read_losses(files)
    keys = ["set", "repeat", "query_id"]
    sums = table.assign(loss=table["loss"] * table["timesteps"]).groupby(keys)[["loss", "timesteps"]].sum()
    return (sums["loss"] / sums["timesteps"]).rename("loss").reset_index()


def _rises(name: str, deleted: Deleted, whole: pd.DataFrame) -> pd.DataFrame:
    """Return how much losses rose, columns ``k, set, repeat, query_id, rise``; of the query that a set is for.

    A set that is for no query in particular has all of them.

    Raises:
        UserError: no loss of the model that had everything is there for a training seed.
    """
    removed = read_parquet(deleted.removed)
    sets = removed.groupby("set").agg(k=("id", "size"), asked=("query_id", "first")).reset_index()
    table = _mean_losses(deleted.losses).merge(sets, on="set")
    table = table[(table["asked"] == "") | (table["asked"] == table["query_id"])]
    table = table.merge(whole.drop(columns="set"), on=["repeat", "query_id"], how="left", suffixes=("", "_whole"))
    if table.empty or table["loss_whole"].isna().any():
        raise UserError(
            f"The losses after the removals of {name} are incomplete; delete the run's folder deletion and run again."
        )
    return table.assign(rise=table["loss"] - table["loss_whole"])[["k", "set", "repeat", "query_id", "rise"]]


def _over(mine: pd.DataFrame, base: pd.DataFrame, confidence: float) -> list[float]:
    if base.empty:
        return [float("nan")] * 3
    paired = (mine.groupby(_PAIR)["rise"].mean() - base.groupby(_PAIR)["rise"].mean()).dropna()
    queries = paired.index.get_level_values("query_id")
    drawn = [_drawn(side[side["query_id"].isin(queries)]) for side in (mine, base)]
    return crossed_mean(paired, confidence, np.concatenate(drawn))


def _drawn(rises: pd.DataFrame) -> np.ndarray:
    """Return the mean rise by set where several are for one query and seed, which only random draws are; else none."""
    several = rises.groupby(_PAIR).size().max() > 1
    return rises.groupby("set")["rise"].mean().to_numpy() if several else np.empty(0)
