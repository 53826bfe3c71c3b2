"""What narrower sketches and smaller number formats cost a method in scores, ranks, detection rate and LDS."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from dmin.attribution.gradient_rows import GradientRows
from dmin.attribution.ranking import rank_top
from dmin.attribution.registry import find_method
from dmin.data.subsets import read_subsets
from dmin.evaluation.compressed_rows import CompressedRows
from dmin.evaluation.detection import detection_rates
from dmin.evaluation.lds import Retrained, lds_interval, noise_ceiling, predict_sets
from dmin.evaluation.retrieval_table import recall_at
from dmin.retraining.sets import read_sets
from dmin.runtime.atomic import write_csv
from dmin.runtime.errors import UserError
from dmin.runtime.meter import hardware_label
from dmin.runtime.provenance import load_array

log = logging.getLogger(__name__)

COLUMNS = [
    "method", "v", "storage", "k", "rate", "low", "high", "recall", "rmse", "spearman", "lds", "lds_low", "lds_high",
    "lds_ceiling", "bytes_per_sample", "share_of_uncompressed", "reference", "hardware",
]  # fmt: skip


@dataclass(frozen=True)
class Bank:
    """What a bank of retrained models says of a run's queries.

    Attributes:
        losses: see :func:`measure_losses`.
        sets: see :func:`write_sets`.
        config: ``bootstrap, confidence, seed``.
    """

    losses: Sequence[Path]
    sets: Sequence[Path]
    config: Mapping[str, Any]


def rank_correlation(left: np.ndarray, right: np.ndarray) -> float:
    """Return Spearman's correlation of the scores ``[queries, train]`` of each query, averaged over queries.

    A query that scores all samples alike on either side, as one with a skipped gradient does, is left out; NaN where
    none remains.
    """
    ranks = [rankdata(side, axis=1) for side in (left, right)]
    one, other = (side - side.mean(axis=1, keepdims=True) for side in ranks)
    lengths = np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1))
    usable = lengths > 0
    return float(np.mean((one * other).sum(axis=1)[usable] / lengths[usable])) if usable.any() else float("nan")


def score_compressed(
    method: str,
    train: GradientRows,
    queries: GradientRows,
    uncompressed: Path | None,
    samples: Sequence[Path],
    widths: Sequence[int],
    storages: Sequence[str],
    options: Mapping[str, Any],
    evaluation: Mapping[str, Any],
    bank: Bank | None,
    out: Path,
) -> None:
    """Write one row per width, storage and k of a method that reads gradients: what its scores are worth.

    Only the stored side, the training samples, is rounded: a query's gradients are computed when it is asked.

    Args:
        train: sketches at ``cache_dim``; ``queries`` likewise.
        uncompressed: scores of the uncompressed gradients, their description beside them, as reference; None takes
            the scores at ``cache_dim`` in fp32 instead, and the column ``reference`` says so.
        samples: tables of the training samples and of the queries, in this order.
        options: of the method.
        evaluation: ``k, bootstrap, confidence, seed``.
        bank: judges the scores by their LDS; without one the columns of the LDS are empty.

    ``rmse`` is in units of the score (DMin's is a sum of T cosines); ``spearman`` is averaged over queries; ``recall``
    is the share of the reference's top k.

    Raises:
        UserError: a width does not divide the sketches' width, a k exceeds the training set, or the reference scores
            are of other samples.
    """
    if max(evaluation["k"]) > len(train.ids):
        raise UserError(
            f"evaluation.k has {max(evaluation['k'])}, but the training set has {len(train.ids)} samples; lower it."
        )
    entry, subsets = find_method(method), read_subsets(samples)

    def scores_at(v: int, storage: str) -> tuple[np.ndarray, int]:
        kept = CompressedRows(train, v, storage)
        values, _ = entry.run(CompressedRows(queries, v, "fp32"), kept, options, subsets)
        return values, kept.bytes_per_sample

    reference = scores_at(train.width, "fp32")[0]
    if uncompressed is not None:
        reference = _read_scores(uncompressed, queries, train)
    trained = list(read_subsets(samples[:1]).values())
    chance = {name: trained.count(name) / len(trained) for name in {*subsets.values()}}
    depth = max(evaluation["k"])
    truth = rank_top(reference, queries.ids, train.ids, subsets, depth)
    judge = _Judge(bank, queries, train)
    rows: list[dict[str, Any]] = []
    for v, storage in ((v, storage) for v in widths for storage in storages):
        values, size = scores_at(v, storage)
        top = rank_top(values, queries.ids, train.ids, subsets, depth)
        facts = {
            "method": method,
            "v": v,
            "storage": storage,
            "rmse": float(np.sqrt(np.mean((values - reference).astype(np.float64) ** 2))),
            "spearman": rank_correlation(values, reference),
            **judge.columns(values),
            "bytes_per_sample": size,
            "share_of_uncompressed": size / (4 * train.shape[1] * train.metadata["P"]),
            "reference": "uncompressed" if uncompressed else "cache_dim",
            "hardware": hardware_label(),
        }
        rates = detection_rates(
            top, evaluation["k"], chance, evaluation["bootstrap"], evaluation["confidence"], evaluation["seed"]
        )
        for rate in rates:
            if rate["subset"] == "mean":
                rows.append({**facts, **rate, "recall": recall_at(top, truth, rate["k"])})
        log.info("v=%d %s: rmse %.4g, spearman %.4f, %d bytes", v, storage, facts["rmse"], facts["spearman"], size)
    write_csv(pd.DataFrame(rows)[COLUMNS], out)


class _Judge:
    """The LDS of score matrices of the same queries and training samples."""

    def __init__(self, bank: Bank | None, queries: GradientRows, train: GradientRows) -> None:
        self._bank = bank
        if bank is not None:
            self._found = Retrained.read(bank.losses)
            self._order = [queries.ids.index(name) for name in self._found.queries]
            self._member = read_sets(bank.sets, train.ids)[self._found.sets]

    def columns(self, scores: np.ndarray) -> dict[str, float | None]:
        """Return the columns of the LDS for scores ``[queries, train]``."""
        names = ("lds", "lds_low", "lds_high", "lds_ceiling")
        if self._bank is None:
            return dict.fromkeys(names)
        predicted = predict_sets(scores[self._order], self._member)
        interval = lds_interval(predicted, self._found.target, self._bank.config)
        return dict(zip(names, (*interval, noise_ceiling(self._found.losses)[1]), strict=True))


def _read_scores(path: Path, queries: GradientRows, train: GradientRows) -> np.ndarray:
    facts = json.loads(path.with_suffix(".json").read_text())
    if facts["queries"] != queries.ids or facts["train"] != train.ids:
        raise UserError(f"Scores '{path}' are of other samples than the sketches; delete them and run again.")
    return np.asarray(load_array(path, "scores", "Scores"), dtype=np.float32)
