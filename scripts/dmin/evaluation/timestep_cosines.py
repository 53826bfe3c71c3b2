"""How alike the gradients of one sample are at two timesteps."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dmin.attribution.gradient_files import GradientFiles
from dmin.evaluation.intervals import mean_interval
from dmin.runtime.atomic import write_csv

log = logging.getLogger(__name__)

COLUMNS = ["split", "timestep", "other", "apart", "cosine", "low", "high", "samples"]


def timestep_cosines(rows: np.ndarray) -> np.ndarray:
    """Return the cosines ``[n, T, T]`` between the gradients of each sample, of sketches ``rows [n, T, v]``.

    A gradient of length zero has the cosine 0.
    """
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    unit = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    cosines: np.ndarray = np.einsum("ntv,nsv->nts", unit, unit, optimize=True)
    return cosines


def evaluate_timestep_cosines(files: Mapping[str, GradientFiles], confidence: float, out: Path) -> None:
    """Write, for every pair of timesteps, the cosine averaged over the samples of a split, with Student's interval.

    ``apart`` is how many places of the grid lie between the two: 1 for neighbours. Where neighbours are alike, one of
    them says what both do.

    Args:
        files: the gradients of each split at one width.

    Raises:
        UserError: a file is torn.
    """
    table: list[dict[str, Any]] = []
    for split, given in files.items():
        rows = given.read()
        found = np.concatenate([timestep_cosines(block) for _, block in rows.blocks()])
        timesteps = rows.metadata["timesteps"]
        for one, other in itertools.combinations(range(len(timesteps)), 2):
            values = found[:, one, other].astype(np.float64)
            low, high = np.clip(mean_interval(values, confidence), -1, 1)
            pair = {"timestep": timesteps[one], "other": timesteps[other], "apart": other - one}
            facts = {"cosine": values.mean(), "low": low, "high": high, "samples": len(values)}
            table.append({"split": split, **pair, **facts})
        near = [row["cosine"] for row in table if row["split"] == split and row["apart"] == 1]
        log.info("%s: cosine of neighbouring timesteps %.3f on average", split, np.mean(near) if near else np.nan)
    write_csv(pd.DataFrame(table, columns=COLUMNS), out)
