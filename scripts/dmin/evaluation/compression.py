"""What narrower sketches and smaller number formats cost in scores, ranks and detection rate."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from dmin.attribution.gradient_rows import GradientRows, require_equal_settings
from dmin.attribution.ranking import rank_top
from dmin.attribution.subsets import read_subsets
from dmin.data.atomic import write_csv
from dmin.errors import UserError
from dmin.evaluation.detection import detection_rates
from dmin.evaluation.retrieval_table import recall_at
from dmin.evaluation.storage import stored, stored_bytes
from dmin.gradients.fold import fold
from dmin.provenance import load_array

log = logging.getLogger(__name__)

COLUMNS = [
    "method", "v", "storage", "k", "rate", "low", "high", "recall", "rmse", "spearman", "bytes_per_sample",
    "share_of_uncompressed", "reference",
]  # fmt: skip

Variant = tuple[int, str]


def compressed_scores(
    queries: GradientRows, train: GradientRows, widths: Sequence[int], storages: Sequence[str]
) -> dict[Variant, np.ndarray]:
    """Return DMin's scores ``[queries, train]`` at every width and storage, read from sketches at the largest width.

    Only the stored side, the training samples, is rounded: a query's gradients are computed when it is asked.

    Raises:
        UserError: the two sides were cached under different settings, or a width does not divide theirs.
    """
    require_equal_settings(queries, train)
    asked = queries.all()
    left = {v: fold(asked, v).reshape(len(asked), -1) for v in widths}
    scores = {(v, storage): np.empty((len(asked), len(train.ids)), np.float32) for v in widths for storage in storages}
    for rows, block in train.blocks():
        for v in widths:
            folded = fold(block, v)
            for storage in storages:
                right = stored(folded, storage)
                scores[v, storage][:, rows] = left[v] @ right.reshape(len(right), -1).T
    return scores


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


def evaluate_compression(
    train: GradientRows,
    queries: GradientRows,
    uncompressed: Path | None,
    samples: Sequence[Path],
    widths: Sequence[int],
    storages: Sequence[str],
    evaluation: Mapping[str, Any],
    out: Path,
) -> None:
    """Write one row per width, storage and k: detection rate, and what is lost against the reference scores.

    Args:
        train: sketches at ``cache_dim``; ``queries`` likewise.
        uncompressed: scores of the uncompressed gradients, their description beside them, as reference; None takes
            the scores at ``cache_dim`` in fp32 instead, and the column ``reference`` says so.
        samples: tables of the training samples and of the queries, in this order.
        evaluation: ``k, bootstrap, confidence, seed``.

    ``rmse`` is in units of the score, a sum of T cosines; ``spearman`` is averaged over queries; ``recall`` is the
    share of the reference's top k.

    Raises:
        UserError: a width does not divide the sketches' width, a k exceeds the training set, or the reference scores
            are of other samples.
    """
    if max(evaluation["k"]) > len(train.ids):
        raise UserError(
            f"evaluation.k has {max(evaluation['k'])}, but the training set has {len(train.ids)} samples; lower it."
        )
    scores = compressed_scores(queries, train, widths, storages)
    if uncompressed is None:
        widest = train.width
        reference = compressed_scores(queries, train, [widest], ["fp32"])[widest, "fp32"]
    else:
        reference = _read_scores(uncompressed, queries, train)
    subsets, trained = read_subsets(samples), list(read_subsets(samples[:1]).values())
    chance = {name: trained.count(name) / len(trained) for name in {*subsets.values()}}
    depth = max(evaluation["k"])
    truth = rank_top(reference, queries.ids, train.ids, subsets, depth)
    steps, parameters = len(train.metadata["timesteps"]), train.metadata["P"]
    rows: list[dict[str, Any]] = []
    for (v, storage), values in scores.items():
        top = rank_top(values, queries.ids, train.ids, subsets, depth)
        size = stored_bytes(steps, v, storage)
        facts = {
            "method": "dmin",
            "v": v,
            "storage": storage,
            "rmse": float(np.sqrt(np.mean((values - reference).astype(np.float64) ** 2))),
            "spearman": rank_correlation(values, reference),
            "bytes_per_sample": size,
            "share_of_uncompressed": size / (4 * steps * parameters),
            "reference": "uncompressed" if uncompressed else "cache_dim",
        }
        rates = detection_rates(
            top, evaluation["k"], chance, evaluation["bootstrap"], evaluation["confidence"], evaluation["seed"]
        )
        for rate in rates:
            if rate["subset"] == "mean":
                rows.append({**facts, **rate, "recall": recall_at(top, truth, rate["k"])})
        log.info("v=%d %s: rmse %.4f, spearman %.4f, %d bytes", v, storage, facts["rmse"], facts["spearman"], size)
    write_csv(pd.DataFrame(rows)[COLUMNS], out)


def _read_scores(path: Path, queries: GradientRows, train: GradientRows) -> np.ndarray:
    facts = json.loads(path.with_suffix(".json").read_text())
    if facts["queries"] != queries.ids or facts["train"] != train.ids:
        raise UserError(f"Scores '{path}' are of other samples than the sketches; delete them and run again.")
    return np.asarray(load_array(path, "scores", "Scores"), dtype=np.float32)
