"""What a method loses when it reads fewer timesteps of one cache."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dmin.attribution.gradient_files import GradientSides
from dmin.attribution.gradient_rows import GradientRows
from dmin.attribution.ranking import rank_top
from dmin.attribution.registry import find_method
from dmin.attribution.sample_tables import SampleTables
from dmin.evaluation.compression import rank_correlation
from dmin.evaluation.detection import Rates, detection_rates, subset_shares
from dmin.evaluation.retrieval_table import recall_at
from dmin.runtime.atomic import write_csv
from dmin.settings.runs import Options

log = logging.getLogger(__name__)

COLUMNS = ["method", "v", "T", "timesteps", "k", "rate", "low", "high", "recall", "spearman"]


class ChosenTimesteps(GradientRows):
    """The gradients of ``rows`` at some of their timesteps."""

    def __init__(self, rows: GradientRows, timesteps: Sequence[int]) -> None:
        vars(self).update(vars(rows))
        self.metadata = {**rows.metadata, "timesteps": list(timesteps)}
        self._places = [rows.metadata["timesteps"].index(timestep) for timestep in timesteps]
        # All reading goes through blocks, which choose.
        self._sketch = None
        self._rows = rows

    @property
    def norms(self) -> np.ndarray:
        """See :attr:`GradientRows.norms`; ``[N, T]`` of the chosen timesteps."""
        return self._rows.norms[:, self._places]

    @property
    def v(self) -> str:
        """The width as tables name it."""
        return self._rows.v

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield float32 blocks ``[n, T, width]`` of the chosen timesteps with the rows that they are, in order."""
        for rows, block in self._rows.blocks():
            yield rows, np.ascontiguousarray(block[:, self._places])


def score_fewer_timesteps(
    method: str,
    sides: GradientSides,
    options: Options,
    subsets: Sequence[Sequence[int]],
    measures: tuple[SampleTables, Rates],
    out: Path,
) -> None:
    """Write one row per subset of the cached timesteps and k: what the scores from them alone are worth.

    ``recall`` is the share of the top k under all timesteps, ``spearman`` the correlation with those scores, averaged
    over queries.

    Args:
        subsets: of the cache's timesteps, each in the cache's order.
        measures: the tables that say what is of a query's own subset, and how the detection rate is taken.

    Raises:
        UserError: a file is torn, or the method refuses the gradients.
    """
    (tables, evaluation), chosen = measures, find_method(method)
    queries, train = sides.read()
    known, depth = tables.subsets(), max(evaluation["k"])
    chance = dict.fromkeys(known.values(), 0.0) | subset_shares(tables.train)
    reference, _ = chosen.run(queries, train, options, known)
    truth = rank_top(reference, queries.ids, train.ids, known, depth)
    rows: list[dict[str, Any]] = []
    for timesteps in subsets:
        asked, kept = ChosenTimesteps(queries, timesteps), ChosenTimesteps(train, timesteps)
        values, _ = chosen.run(asked, kept, options, known)
        top = rank_top(values, queries.ids, train.ids, known, depth)
        spearman = rank_correlation(values, reference)
        facts = {"method": method, "v": train.v, "T": len(timesteps), "timesteps": " ".join(map(str, timesteps))}
        for rate in detection_rates(top, chance, evaluation):
            if rate["subset"] == "mean":
                rows.append({**facts, **rate, "spearman": spearman, "recall": recall_at(top, truth, rate["k"])})
        log.info("%s, %d timesteps: spearman %.3f", method, len(timesteps), spearman)
    write_csv(pd.DataFrame(rows)[COLUMNS], out)
