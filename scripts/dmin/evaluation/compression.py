"""What narrower sketches and smaller number formats cost a method in scores, ranks, detection rate and LDS."""

from __future__ import annotations

import itertools
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dmin.attribution.gradient_files import GradientSides
from dmin.attribution.gradient_rows import GradientRows
from dmin.attribution.ranking import rank_top
from dmin.attribution.registry import find_method
from dmin.attribution.sample_tables import SampleTables
from dmin.attribution.score_matrix import ScoreMatrix
from dmin.evaluation.compressed_rows import CompressedRows
from dmin.evaluation.detection import Rates, detection_rates, subset_shares
from dmin.evaluation.lds import Judge, JudgingBank, lds_interval
from dmin.evaluation.ranks import centred_ranks
from dmin.evaluation.retrained import noise_ceiling
from dmin.evaluation.retrieval_table import recall_at
from dmin.runtime.atomic import write_csv
from dmin.runtime.errors import UserError
from dmin.runtime.meter import hardware_label
from dmin.settings.runs import Compression, Options

log = logging.getLogger(__name__)

COLUMNS = [
    "method", "v", "storage", "k", "rate", "low", "high", "recall", "rmse", "spearman", "lds", "lds_low", "lds_high",
    "lds_ceiling", "bytes_per_sample", "share_of_uncompressed", "reference", "hardware",
]  # fmt: skip


@dataclass(frozen=True)
class Measures:
    """What scores of compressed gradients are measured by.

    Attributes:
        tables: say which samples are of a query's own subset.
        evaluation: the detection rate.
        uncompressed: the scores of the uncompressed gradients, their description beside them, as reference; None takes
            the scores at ``cache_dim`` in fp32 instead, and the column ``reference`` says so.
        bank: judges the scores by their LDS; without one the columns of the LDS are empty.
    """

    tables: SampleTables
    evaluation: Rates
    uncompressed: Path | None = None
    bank: JudgingBank | None = None


def rank_correlation(left: np.ndarray, right: np.ndarray) -> float:
    """Return Spearman's correlation of the scores ``[queries, train]`` of each query, averaged over queries.

    A query that scores all samples alike on either side, as one with a skipped gradient does, is left out; NaN where
    none remains.
    """
    one, other = (centred_ranks(side) for side in (left, right))
    lengths = np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1))
    usable = lengths > 0
    return float(np.mean((one * other).sum(axis=1)[usable] / lengths[usable])) if usable.any() else float("nan")


def score_compressed(
    method: str, sides: GradientSides, options: Options, formats: Compression, measures: Measures, out: Path
) -> None:
    """Write one row per width, storage and k of a method that reads gradients: what its scores are worth.

    Only the stored side, the training samples, is rounded: a query's gradients are computed when it is asked.

    Args:
        sides: sketches at ``cache_dim``.

    ``rmse`` is in units of the score (DMin's is a sum of T cosines); ``spearman`` is averaged over queries; ``recall``
    is the share of the reference's top k.

    Raises:
        UserError: a width does not divide the sketches' width, a k exceeds the training set, or the reference scores
            are of other samples.
    """
    queries, train = sides.read()
    evaluation, depth = measures.evaluation, max(measures.evaluation["k"])
    if depth > len(train.ids):
        raise UserError(f"evaluation.k has {depth}, but the training set has {len(train.ids)} samples; lower it.")
    chosen, subsets = find_method(method), measures.tables.subsets()

    def scores_at(v: int, storage: str) -> tuple[np.ndarray, int]:
        kept = CompressedRows(train, v, storage)
        values, _ = chosen.run(CompressedRows(queries, v, "fp32"), kept, options, subsets)
        return values, kept.bytes_per_sample

    reference = scores_at(train.width, "fp32")[0]
    if measures.uncompressed is not None:
        reference = _read_scores(measures.uncompressed, queries, train)
    chance = dict.fromkeys(subsets.values(), 0.0) | subset_shares(measures.tables.train)
    truth = rank_top(reference, queries.ids, train.ids, subsets, depth)
    judge = None if measures.bank is None else measures.bank.judge(queries.ids, train.ids)
    rows: list[dict[str, Any]] = []
    for v, storage in itertools.product(formats["widths"], formats["storage"]):
        values, size = scores_at(v, storage)
        top = rank_top(values, queries.ids, train.ids, subsets, depth)
        facts = {
            "method": method,
            "v": v,
            "storage": storage,
            "rmse": float(np.sqrt(np.mean((values - reference).astype(np.float64) ** 2))),
            "spearman": rank_correlation(values, reference),
            **lds_columns(values, judge, measures.bank),
            "bytes_per_sample": size,
            "share_of_uncompressed": size / (4 * train.shape[1] * train.metadata["P"]),
            "reference": "uncompressed" if measures.uncompressed else "cache_dim",
            "hardware": hardware_label(),
        }
        for rate in detection_rates(top, chance, evaluation):
            if rate["subset"] == "mean":
                rows.append({**facts, **rate, "recall": recall_at(top, truth, rate["k"])})
        log.info("v=%d %s: rmse %.4g, spearman %.4f, %d bytes", v, storage, facts["rmse"], facts["spearman"], size)
    write_csv(pd.DataFrame(rows)[COLUMNS], out)


def lds_columns(scores: np.ndarray, judge: Judge | None, bank: JudgingBank | None) -> dict[str, float | None]:
    """Return the LDS of scores ``[queries, train]`` with its interval and ceiling; empty without a bank that judges."""
    names = ("lds", "lds_low", "lds_high", "lds_ceiling")
    if judge is None or bank is None:
        return dict.fromkeys(names)
    ends = lds_interval(judge.predict(scores), judge.retrained.target, bank.interval)
    return dict(zip(names, (*ends, noise_ceiling(judge.retrained.losses)[1]), strict=True))


def _read_scores(path: Path, queries: GradientRows, train: GradientRows) -> np.ndarray:
    matrix = ScoreMatrix.read(path)
    if matrix.queries != queries.ids or matrix.train != train.ids:
        raise UserError(f"Scores '{path}' are of other samples than the sketches; delete them and run again.")
    return np.asarray(matrix.values, dtype=np.float32)
