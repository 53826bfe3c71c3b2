"""Linear datamodeling score: do the scores of a method foretell what retraining would have done?"""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dmin.attribution.score_matrix import ScoreMatrix
from dmin.evaluation.intervals import shifted_interval
from dmin.evaluation.ranks import spearman_rows
from dmin.evaluation.retrained import Retrained, has_signal, noise_ceiling
from dmin.retraining.sets import read_sets
from dmin.runtime.atomic import write_csv
from dmin.runtime.errors import UserError
from dmin.runtime.meter import hardware_label
from dmin.runtime.percentiles import Interval
from dmin.runtime.seeds import derive_seed

log = logging.getLogger(__name__)

COLUMNS = [
    "method", "v", "query_set", "lds", "low", "high", "over_dmin", "over_dmin_low", "over_dmin_high", "lds_squared",
    "lds_top", "seed_agreement", "ceiling", "queries", "subsets", "seeds", "hardware",
]  # fmt: skip
QUERY_COLUMNS = ["method", "v", "query_set", "query_id", "lds", "ceiling"]
# The share of the training set that the read-out lds_top keeps.
TOP_SHARE = 0.05
# What the columns over_dmin compare with.
REFERENCE = "dmin"


def predict_sets(scores: np.ndarray, member: np.ndarray) -> np.ndarray:
    """Return what scores ``[queries, train]`` foretell of every set: the sum over its members, ``[queries, sets]``."""
    return scores.astype(np.float64) @ member.T.astype(np.float64)


def top_scores(scores: np.ndarray) -> np.ndarray:
    """Return scores ``[queries, train]`` with all but the highest twentieth of each query's set to zero."""
    kept = max(1, round(TOP_SHARE * scores.shape[1]))
    least = np.partition(scores, -kept, axis=1)[:, [-kept]]
    return np.where(scores >= least, scores, 0)


def resampled_lds(predicted: np.ndarray, target: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Return the LDS ``[resamples, ...]`` of resamples, with replacement, of both queries and sets.

    All methods share the same resamples, and so do all targets.

    Args:
        predicted: ``[queries, sets]``.
        target: ``[..., queries, sets]``.
    """
    values = np.empty((resamples, *target.shape[:-2]))
    for number in range(resamples):
        generator = np.random.default_rng(derive_seed(seed, "lds", number))
        sets = generator.integers(0, target.shape[-1], target.shape[-1])
        queries = generator.integers(0, target.shape[-2], target.shape[-2])
        values[number] = spearman_rows(predicted[queries][:, sets], target[..., queries, :][..., sets]).mean(-1)
    return values


def lds_interval(predicted: np.ndarray, target: np.ndarray, interval: Interval) -> tuple[float, float, float]:
    """Return the LDS of predictions ``[queries, sets]``, and the ends of its interval; see :func:`lds_ends`."""
    lds = float(spearman_rows(predicted, target).mean())
    resamples = resampled_lds(predicted, target, interval["bootstrap"], interval["seed"])
    return lds, *lds_ends(resamples, lds, interval["confidence"])


def lds_ends(resamples: np.ndarray, lds: float, confidence: float) -> tuple[float, float]:
    """Return the ends of the interval of an LDS, in -1..1.

    A resample repeats sets, whose ties lower a correlation; so the resamples' mean is shifted to the estimate.
    """
    low, high = np.clip(shifted_interval(resamples, lds, confidence), -1, 1).tolist()
    return low, high


class Judge:
    """What a bank says of scores ``[queries, train]``.

    Args:
        sets: see :func:`write_sets`.
        queries: ids of the rows of the scores; ``train`` of the columns.

    Raises:
        UserError: the bank has the losses of a query, or a set a sample, that was not scored.
    """

    def __init__(
        self, retrained: Retrained, sets: Sequence[Path], queries: Sequence[str], train: Sequence[str]
    ) -> None:
        self.retrained = retrained
        places = {name: place for place, name in enumerate(queries)}
        missing = [name for name in retrained.queries if name not in places]
        if missing:
            raise UserError(
                f"The run has no scores of query '{missing[0]}', whose loss the bank holds; make both from the same "
                "queries."
            )
        self._rows = [places[name] for name in retrained.queries]
        self._member = read_sets(sets, train)[retrained.sets]

    def predict(self, scores: np.ndarray) -> np.ndarray:
        """Return what the scores foretell, ``[queries, sets]``, in the order of the bank's queries."""
        return predict_sets(scores[self._rows], self._member)


@dataclass(frozen=True)
class JudgingBank:
    """The files of a bank of retrained models that judge a run's scores, and how intervals are drawn.

    Attributes:
        losses: of the run's queries under the models; see :func:`measure_losses`.
        sets: what the models were trained on; see :func:`write_sets`.
    """

    losses: Sequence[Path]
    sets: Sequence[Path]
    interval: Interval

    def judge(self, queries: Sequence[str], train: Sequence[str]) -> Judge:
        """Read the files, to judge scores of these ids.

        Raises:
            UserError: as :meth:`Retrained.read` and :class:`Judge`.
        """
        return Judge(Retrained.read(self.losses), self.sets, queries, train)


@dataclass(frozen=True)
class LdsFiles:
    """Where the LDS of each method goes (``table``), and that of each of its queries (``queries``)."""

    table: Path
    queries: Path


def evaluate_lds(bank: JudgingBank, scores: Mapping[tuple[str, str], Path], query_set: str, out: LdsFiles) -> None:
    """Write the LDS of every method, with its interval, the noise ceiling and the hardware.

    LDS is Spearman's correlation, over the sets, between the sum of a query's scores over the set and minus its loss
    under the model trained on it, averaged over queries; in -1..1, 0 for chance. Source: TRAK, D-TRAK. ``over_dmin`` is
    how much more it is than that of ``dmin`` at the same width, or at its widest where it has none of that width, with
    the interval of the difference; empty where ``dmin`` is not among the methods. ``lds_squared`` sums the squares of
    the scores instead, ``lds_top`` those of each query's highest twentieth alone.

    Args:
        scores: score files by method and width.
        query_set: ``generated`` or ``held_out``.

    Raises:
        UserError: as :meth:`Retrained.read` and :class:`Judge`.
    """
    found, interval = Retrained.read(bank.losses), bank.interval
    agreement, ceiling = noise_ceiling(found.losses)
    if not has_signal(ceiling):
        log.warning("two trainings on one set hardly agree: the ceiling is %.3f, so the LDS ranks no method", ceiling)
    ceilings = [noise_ceiling(found.losses[..., [place]])[1] for place in range(len(found.queries))]
    lds, resamples, read_outs, by_query = {}, {}, {}, []
    for key, path in scores.items():
        matrix = ScoreMatrix.read(path)
        judge = Judge(found, bank.sets, matrix.queries, matrix.train)
        predicted = judge.predict(matrix.values)
        each = spearman_rows(predicted, found.target)
        by_query += [[*key, query_set, *row] for row in zip(found.queries, each.tolist(), ceilings, strict=True)]
        lds[key] = float(each.mean())
        resamples[key] = resampled_lds(predicted, found.target, interval["bootstrap"], interval["seed"])
        read_outs[key] = [
            float(spearman_rows(judge.predict(values), found.target).mean())
            for values in (np.square(matrix.values.astype(np.float64)), top_scores(matrix.values))
        ]
    rows = []
    for (method, v), value in lds.items():
        low, high = lds_ends(resamples[method, v], value, interval["confidence"])
        log.info("%s v=%s: LDS %.3f (%.3f to %.3f), ceiling %.3f", method, v, value, low, high, ceiling)
        over: list[float] = [float("nan")] * 3
        if (dmin := _dmin_beside(v, lds)) is not None:
            drawn, difference = resamples[method, v] - resamples[dmin], value - lds[dmin]
            over = [difference, *shifted_interval(drawn, difference, interval["confidence"])]
        facts = [method, v, query_set, value, low, high, *over, *read_outs[method, v], agreement, ceiling]
        rows.append([*facts, len(found.queries), len(found.sets), found.losses.shape[1], hardware_label()])
    write_csv(pd.DataFrame(rows, columns=COLUMNS), out.table)
    write_csv(pd.DataFrame(by_query, columns=QUERY_COLUMNS), out.queries)


def _dmin_beside(v: str, scored: Collection[tuple[str, str]]) -> tuple[str, str] | None:
    widths = [width for method, width in scored if method == REFERENCE]
    if not widths:
        return None
    return REFERENCE, v if v in widths else max(widths, key=lambda width: math.inf if width == "full" else int(width))
