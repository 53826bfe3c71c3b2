"""The detection rate of every step of a journey."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dmin.attribution.gradient_rows import GradientRows
from dmin.attribution.methods.journey_trak import step_problem, step_scores
from dmin.attribution.ranking import rank_top
from dmin.attribution.settings import relative_lambda
from dmin.data.subsets import read_subsets
from dmin.evaluation.detection import hits_at
from dmin.runtime.atomic import atomic_path, write_csv

log = logging.getLogger(__name__)

COLUMNS = ["v", "timestep", "k", "rate", "chance", "queries"]


def score_journey_steps(
    v: str,
    train_shards: Sequence[Path],
    query_shards: Sequence[Path],
    train_sketch: Path,
    query_sketch: Path,
    samples: Sequence[Path],
    ks: Sequence[int],
    settings: Mapping[str, Any],
    scores: Path,
    rates: Path,
) -> None:
    """Write the scores of each step, float32 ``[steps, queries, train]``, and their detection rates, mean over subsets.

    The scores of the steps add up to those of journey_trak.

    Args:
        samples: tables that name the subset of every query and training sample, the training table first.
        ks: lengths of the list at which the detection rate is taken.

    Raises:
        UserError: a file is torn, the two sides do not fit, or lambda is refused.
    """
    train, queries = GradientRows(train_shards, train_sketch), GradientRows(query_shards, query_sketch)
    subsets = read_subsets(samples)
    values = step_scores(step_problem(queries, train), queries, relative_lambda(settings)).astype(np.float32)
    with atomic_path(scores) as temporary:
        np.save(temporary, values)
    trained = [subsets[sample] for sample in train.ids]
    asked = sorted({subsets[query] for query in queries.ids})
    chance = float(np.mean([trained.count(subset) / len(trained) for subset in asked]))
    rows = []
    for timestep, step in zip(queries.metadata["timesteps"], values, strict=True):
        top = rank_top(step, queries.ids, train.ids, subsets, max(ks))
        for k in ks:
            rate = float(hits_at(top, k).groupby("query_subset")["rate"].mean().mean())
            rows.append(dict(zip(COLUMNS, (v, timestep, k, rate, chance, len(queries.ids)), strict=True)))
            log.info("timestep %d: DR@%d %.3f", timestep, k, rate)
    write_csv(pd.DataFrame(rows, columns=COLUMNS), rates)
