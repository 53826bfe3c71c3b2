"""Do methods that replay the training rank samples by the timestep that they happened to be trained with?"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dmin.attribution.score_matrix import ScoreMatrix
from dmin.evaluation.agreement import mean_correlation, rank_correlations
from dmin.gradients.shard import Shard
from dmin.runtime.atomic import write_csv
from dmin.runtime.errors import UserError
from dmin.runtime.readers import read_json

log = logging.getLogger(__name__)

COLUMNS = ["method", "v", "spearman", "low", "high", "queries"]


def replayed_norms(checkpoints: Sequence[Sequence[Path]], weights: Sequence[float]) -> tuple[list[str], np.ndarray]:
    """Return the ids of the training samples, and ``sum_c w_c |g_i,c|`` of the gradients that were replayed, ``[N]``.

    Args:
        checkpoints: the shards of each.
        weights: of each checkpoint.
    """
    total = np.zeros(0)
    ids: list[str] = []
    for shards, weight in zip(checkpoints, weights, strict=True):
        read = [Shard(path) for path in shards]
        norms = weight * np.concatenate([shard.read("norm")[:, 0] for shard in read]).astype(np.float64)
        total = norms if not ids else total + norms
        ids = [name for shard in read for name in shard.ids]
    return ids, total


def evaluate_replay_bias(
    scores: Mapping[tuple[str, str], Path], checkpoints: Sequence[Sequence[Path]], confidence: float, out: Path
) -> None:
    """Write how far influence follows the length of the replayed gradients: one row per method and width.

    ``spearman`` is the correlation over training samples between the size of a score and the weighted length of the
    gradients that the sample was replayed with, averaged over queries, with Student's interval. That length is mostly
    that of the timestep that was drawn: at 1 the ranking is that of the draws, at 0 it owes them nothing.

    Args:
        scores: score files of the methods that sum over checkpoints, by method and width.
        checkpoints: the shards of the training samples at each checkpoint.

    Raises:
        UserError: a file is torn, or scores and shards are of other samples.

    Source: the bias that Diffusion-ReTrac names; this measure is ours.
    """
    rows = []
    for (method, v), path in scores.items():
        described = read_json(path.with_suffix(".json"))
        ids, lengths = replayed_norms(checkpoints, described["weights"])
        matrix = ScoreMatrix.read(path)
        if matrix.train != ids:
            raise UserError(f"Scores '{path}' are of other samples than the replayed ones; delete them and run again.")
        # How often an epoch sees a sample is no matter of what it drew.
        sizes = np.abs(matrix.values) / np.asarray(described.get("repeats", 1))
        found = np.array([rank_correlations(np.stack([row, lengths]))[0, 1] for row in sizes])
        facts = mean_correlation(found, confidence)
        rows.append({"method": method, "v": v, **facts})
        log.info("%s v=%s: influence follows the replayed lengths at %.3f", method, v, facts["spearman"])
    write_csv(pd.DataFrame(rows, columns=COLUMNS), out)
