"""The detection rate of every step of a journey."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dmin.attribution.gradient_files import GradientSides
from dmin.attribution.methods.journey_trak import step_problem, step_scores
from dmin.attribution.ranking import rank_top
from dmin.attribution.sample_tables import SampleTables
from dmin.attribution.settings import relative_lambda
from dmin.evaluation.detection import hits_at, subset_shares
from dmin.runtime.atomic import write_array, write_csv
from dmin.runtime.checksums import write_record
from dmin.settings.runs import Options

log = logging.getLogger(__name__)

COLUMNS = ["v", "timestep", "k", "rate", "chance", "queries"]


def score_journey_steps(
    sides: GradientSides, tables: SampleTables, options: Options, ks: Sequence[int], scores: Path, rates: Path
) -> None:
    """Write the scores of each step, float32 ``[steps, queries, train]``, and their detection rates, mean over subsets.

    The scores of the steps add up to those of journey_trak.

    Args:
        ks: lengths of the list at which the detection rate is taken.

    Raises:
        UserError: a file is torn, the two sides do not fit, or lambda is refused.
    """
    queries, train = sides.read()
    subsets, shares = tables.subsets(), subset_shares(tables.train)
    values = step_scores(step_problem(queries, train), queries, relative_lambda(options)).astype(np.float32)
    write_array(values, scores)
    write_record(scores)
    chance = float(np.mean([shares.get(subset, 0.0) for subset in sorted({subsets[query] for query in queries.ids})]))
    rows = []
    for timestep, step in zip(queries.metadata["timesteps"], values, strict=True):
        top = rank_top(step, queries.ids, train.ids, subsets, max(ks))
        for k in ks:
            rate = float(hits_at(top, k).groupby("query_subset")["rate"].mean().mean())
            rows.append(dict(zip(COLUMNS, (train.v, timestep, k, rate, chance, len(queries.ids)), strict=True)))
            log.info("timestep %d: DR@%d %.3f", timestep, k, rate)
    write_csv(pd.DataFrame(rows, columns=COLUMNS), rates)
