"""LDS in bands of timesteps: where methods foretell retraining, and where there is anything to foretell."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dmin.attribution.score_matrix import ScoreMatrix
from dmin.evaluation.lds import Judge, JudgingBank, lds_ends, resampled_lds
from dmin.evaluation.ranks import spearman_rows
from dmin.evaluation.retrained import RetrainedParts, has_signal, noise_ceiling
from dmin.runtime.atomic import write_csv

log = logging.getLogger(__name__)

COLUMNS = [
    "method", "v", "query_set", "bank", "low_timestep", "high_timestep", "lds", "low", "high", "ceiling",
]  # fmt: skip


@dataclass(frozen=True)
class Banding:
    """Where bands of timesteps begin, and what a table says of the losses in them: their queries and their bank."""

    starts: Sequence[int]
    query_set: str
    bank: str


def evaluate_lds_bands(bank: JudgingBank, scores: Mapping[tuple[str, str], Path], banding: Banding, out: Path) -> None:
    """Write the LDS of every method in every band of timesteps, with its interval and the band's own noise ceiling.

    The target is the mean loss over the band alone; the scores are the same. A band whose ceiling is below .2 has
    nothing to foretell: its ceiling is told, and ``lds, low, high`` stay empty.

    Args:
        scores: score files by method and width.

    Raises:
        UserError: as :meth:`RetrainedParts.read` and :class:`Judge`.
    """
    bands = RetrainedParts.read(bank.losses).bands(banding.starts)
    ceilings = [noise_ceiling(found.losses)[1] for _, _, found in bands]
    for (low, high, _), ceiling in zip(bands, ceilings, strict=True):
        if not has_signal(ceiling):
            log.warning("timesteps %d to %d have a ceiling of %.3f, so they rank no method", low, high, ceiling)
    target = np.stack([found.target for _, _, found in bands])
    rows = []
    for (method, v), path in scores.items():
        matrix = ScoreMatrix.read(path)
        predicted = Judge(bands[0][2], bank.sets, matrix.queries, matrix.train).predict(matrix.values)
        lds = spearman_rows(predicted, target).mean(-1)
        drawn = resampled_lds(predicted, target, bank.interval["bootstrap"], bank.interval["seed"])
        for place, ((first, last, _), ceiling) in enumerate(zip(bands, ceilings, strict=True)):
            value = float(lds[place])
            told = [value, *lds_ends(drawn[:, place], value, bank.interval["confidence"])]
            if not has_signal(ceiling):
                told = [float("nan")] * 3
            rows.append([method, v, banding.query_set, banding.bank, first, last, *told, ceiling])
    write_csv(pd.DataFrame(rows, columns=COLUMNS), out)
