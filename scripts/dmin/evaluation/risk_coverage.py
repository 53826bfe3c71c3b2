"""What abstaining buys: how far answers are wrong where only those are given whose list is sure enough."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dmin.attribution.score_matrix import ScoreMatrix
from dmin.evaluation.detection import hits_at
from dmin.evaluation.intervals import combined_interval, rate_interval
from dmin.evaluation.lds import Judge, JudgingBank
from dmin.evaluation.ranks import spearman_rows
from dmin.evaluation.retrained import Retrained
from dmin.runtime.atomic import write_csv
from dmin.runtime.parquet import read_parquet
from dmin.runtime.seeds import derive_seed

log = logging.getLogger(__name__)

COLUMNS = ["method", "v", "truth", "order", "coverage", "risk", "low", "high", "queries"]
# What stands for a p-value that is not known: less sure than any.
_UNKNOWN = 2.0


@dataclass(frozen=True)
class Answers:
    """A method at a width, with its ranked lists and its scores."""

    method: str
    v: str
    top: Path
    scores: Path


@dataclass(frozen=True)
class Truth:
    """What answers are held against.

    Attributes:
        k: how many images of a list are looked at for hits; None where the subsets of queries are not known.
        bank: the retrained models that have the queries' losses; None where there are none.
        confidence: of the intervals.
    """

    k: int | None
    bank: JudgingBank | None
    confidence: float


@dataclass(frozen=True)
class _Risks:
    """The risk of every query, ``each``, and by every resample of the retrained sets, ``[resamples, queries]``.

    Without resamples it is a share of misses.
    """

    each: pd.Series
    resampled: np.ndarray | None = None
    sets: int = 0


def evaluate_risk_coverage(answers: Sequence[Answers], truth: Truth, out: Path) -> None:
    """Write how large the risk is where the surest answers alone are given, for every method with p-values.

    A row is a threshold: ``coverage`` is the share of queries at least that sure, ``queries`` their number, and
    ``risk`` the mean over these. By ``truth``: ``hits``, the share of the first ``k`` listed images that are not of
    the query's subset, with Wilson's interval; ``lds``, 1 minus the query's linear datamodeling score under a bank of
    retrained models (0 at best, 1 for chance, at most 2), with Student's interval, whose error is that by queries and
    that by the retrained sets. By ``order``: ``p_value``, the smallest p-value of a list, among equal ones the mean of
    its p-values; ``significant``, the number of significant images in it, from one on. A single query has no interval
    by retraining.

    Raises:
        UserError: a file is torn, or the bank is of other queries or samples; see :class:`dmin.evaluation.lds.Judge`.

    Source: El-Yaniv and Wiener 2010, the risk-coverage curve.
    """
    retrained = None if truth.bank is None else Retrained.read(truth.bank.losses)
    rows: list[list[object]] = []
    for entry in answers:
        top = read_parquet(entry.top)
        if top["p_value"].isna().all():
            continue
        sure = _sureness(top)
        found: dict[str, _Risks] = {}
        if truth.k is not None:
            found["hits"] = _Risks(1 - hits_at(top, truth.k).set_index("query_id")["rate"])
        if truth.bank is not None and retrained is not None:
            found["lds"] = _lds_risks(entry.scores, truth.bank, retrained)
        for name, risks in found.items():
            for order, keys in sure.items():
                rows += [
                    [entry.method, entry.v, name, order, *row] for row in _thresholds(keys, risks, truth.confidence)
                ]
        log.info("%s v=%s: %d thresholds so far", entry.method, entry.v, len(rows))
    write_csv(pd.DataFrame(rows, columns=COLUMNS), out)


def _sureness(top: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return by order what queries are sorted by, the surest first: the smallest values of the first column, then of
    the next. A list without a significant image is in no row of that order."""
    lists = top.assign(significant=top["significant"].fillna(False).astype(bool)).groupby("query_id")
    p_values = lists["p_value"].agg(["min", "mean"]).fillna(_UNKNOWN)
    # Sums of equal values in another order differ by their last digits.
    significant = -lists["significant"].sum()
    return {"p_value": p_values.round(9), "significant": significant[significant < 0].to_frame()}


def _lds_risks(scores: Path, bank: JudgingBank, retrained: Retrained) -> _Risks:
    matrix = ScoreMatrix.read(scores)
    judge = Judge(retrained, bank.sets, matrix.queries, matrix.train)
    predicted, target = judge.predict(matrix.values), retrained.target
    drawn = np.empty((bank.interval["bootstrap"], len(target)))
    for number in range(len(drawn)):
        generator = np.random.default_rng(derive_seed(bank.interval["seed"], "risk_coverage", number))
        sets = generator.integers(0, target.shape[1], target.shape[1])
        drawn[number] = spearman_rows(predicted[:, sets], target[:, sets])
    each = pd.Series(1 - spearman_rows(predicted, target), index=retrained.queries)
    return _Risks(each, 1 - drawn, target.shape[1])


def _thresholds(keys: pd.DataFrame, risks: _Risks, confidence: float) -> list[list[float]]:
    """Return ``coverage, risk, low, high, queries`` of every threshold, the highest first."""
    place = {str(name): number for number, name in enumerate(risks.each.index)}
    keys = keys[[str(name) in place for name in keys.index]]
    keys = keys.sort_values(list(keys.columns), kind="stable")
    if keys.empty:
        return []
    order = np.array([place[str(name)] for name in keys.index])
    values = risks.each.to_numpy(dtype=float)[order]
    # Queries that are equally sure are answered, or not, together.
    counts = np.flatnonzero(np.append((np.diff(keys.to_numpy(dtype=float), axis=0) != 0).any(1), True)) + 1
    rows = []
    for count in counts.tolist():
        answered = values[:count]
        if risks.resampled is None:
            ends = rate_interval([answered], confidence)
        else:
            ends = _mean_ends(answered, risks.resampled[:, order[:count]].mean(1), risks.sets, confidence)
        rows.append([count / len(risks.each), float(answered.mean()), *ends, count])
    return rows


def _mean_ends(values: np.ndarray, resampled: np.ndarray, sets: int, confidence: float) -> tuple[float, float]:
    """Return the ends of the interval of the mean of ``values [n]``, whose mean by each resample of the sets is given;
    NaN for a single one."""
    if len(values) < 2:
        return float("nan"), float("nan")
    sources = [(float(values.var(ddof=1)) / len(values), len(values) - 1), (float(resampled.var(ddof=1)), sets - 1)]
    low, high = combined_interval(float(values.mean()), sources, confidence)
    return max(0.0, low), min(2.0, high)
