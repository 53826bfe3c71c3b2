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
from dmin.evaluation.ranks import centred_ranks
from dmin.retraining.sets import read_sets
from dmin.runtime.atomic import write_csv
from dmin.runtime.errors import UserError
from dmin.runtime.meter import hardware_label
from dmin.runtime.parquet import read_parquet
from dmin.runtime.percentiles import Interval
from dmin.runtime.seeds import derive_seed

log = logging.getLogger(__name__)

COLUMNS = [
    "method", "v", "query_set", "lds", "low", "high", "over_dmin", "over_dmin_low", "over_dmin_high", "seed_agreement",
    "ceiling", "queries", "subsets", "seeds", "hardware",
]  # fmt: skip
FEWEST_SETS = 8
# What the columns over_dmin compare with.
REFERENCE = "dmin"


@dataclass(frozen=True)
class Retrained:
    """What retraining did: the loss of every query under every model.

    Attributes:
        queries: ids of the queries.
        sets: numbers of the sets, in the order of the rows of ``losses``.
        losses: ``[sets, seeds, queries]``.
    """

    queries: list[str]
    sets: list[int]
    losses: np.ndarray

    @classmethod
    def read(cls, parts: Sequence[Path]) -> Retrained:
        """Read what :func:`measure_losses` wrote.

        Raises:
            UserError: fewer than 8 sets are left, or a retraining is missing.
        """
        table = pd.concat([read_parquet(part) for part in parts])
        cube = table.pivot_table(index=["set", "repeat"], columns="query_id", values="loss", sort=True)
        sets, repeats = (sorted(set(cube.index.get_level_values(level))) for level in ("set", "repeat"))
        if len(sets) < FEWEST_SETS:
            raise UserError(
                f"{len(sets)} retrained sets are too few for an interval; set the bank's subsets so that at least "
                f"{FEWEST_SETS} are left."
            )
        if len(cube) < len(sets) * len(repeats) or cube.isna().any(axis=None):
            raise UserError("The losses of a retraining are missing; delete the run's folder lds and run again.")
        return cls(list(cube.columns), sets, cube.to_numpy().reshape(len(sets), len(repeats), -1))

    @property
    def target(self) -> np.ndarray:
        """What scores foretell: minus the loss, mean over seeds, ``[queries, sets]``; larger is better."""
        return -self.losses.mean(axis=1).T


def rank_rows(values: np.ndarray) -> np.ndarray:
    """Return the ranks within each row, centred and of unit length; a constant row gives zeros."""
    ranks = centred_ranks(values)
    length = np.linalg.norm(ranks, axis=-1, keepdims=True)
    return np.divide(ranks, length, out=np.zeros_like(ranks), where=length > 0)


def spearman_rows(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return Spearman's correlation of each row of ``left [q, s]`` with that of ``right``; 0 where one is constant."""
    result: np.ndarray = (rank_rows(left) * rank_rows(right)).sum(axis=-1)
    return result


def predict_sets(scores: np.ndarray, member: np.ndarray) -> np.ndarray:
    """Return what scores ``[queries, train]`` foretell of every set: the sum over its members, ``[queries, sets]``."""
    return scores.astype(np.float64) @ member.T.astype(np.float64)


def noise_ceiling(losses: np.ndarray) -> tuple[float, float]:
    """Return how well seeds agree on the sets, and what a perfect method could reach; NaN with a single seed.

    The first is Spearman's correlation between two seeds, the mean over pairs and queries, ``r``. The second is the
    correlation of the mean over ``n`` seeds with what infinitely many would give, ``sqrt(n r / (1 + (n - 1) r))``
    (Spearman and Brown).

    Args:
        losses: ``[sets, seeds, queries]``.
    """
    seeds = losses.shape[1]
    if seeds == 1:
        return float("nan"), float("nan")
    pairs = [(a, b) for a in range(seeds) for b in range(a)]
    agreement = float(np.mean([spearman_rows(losses[:, a].T, losses[:, b].T).mean() for a, b in pairs]))
    shared = max(agreement, 0.0)
    return agreement, float(np.sqrt(seeds * shared / (1 + (seeds - 1) * shared)))


def resampled_lds(predicted: np.ndarray, target: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Return the LDS ``[resamples]`` of resamples, with replacement, of both queries and sets.

    All methods share the same resamples.
    """
    values = np.empty(resamples)
    for number in range(resamples):
        generator = np.random.default_rng(derive_seed(seed, "lds", number))
        sets = generator.integers(0, target.shape[1], target.shape[1])
        queries = generator.integers(0, target.shape[0], target.shape[0])
        values[number] = spearman_rows(predicted[queries][:, sets], target[queries][:, sets]).mean()
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


def evaluate_lds(bank: JudgingBank, scores: Mapping[tuple[str, str], Path], query_set: str, out: Path) -> None:
    """Write the LDS of every method, with its interval, the noise ceiling and the hardware.

    LDS is Spearman's correlation, over the sets, between the sum of a query's scores over the set and minus its loss
    under the model trained on it, averaged over queries; in -1..1, 0 for chance. Source: TRAK, D-TRAK. ``over_dmin`` is
    how much more it is than that of ``dmin`` at the same width, or at its widest where it has none of that width, with
    the interval of the difference; empty where ``dmin`` is not among the methods.

    Args:
        scores: score files by method and width.
        query_set: ``generated`` or ``held_out``.

    Raises:
        UserError: as :meth:`Retrained.read` and :class:`Judge`.
    """
    found, interval = Retrained.read(bank.losses), bank.interval
    agreement, ceiling = noise_ceiling(found.losses)
    lds, resamples = {}, {}
    for key, path in scores.items():
        matrix = ScoreMatrix.read(path)
        predicted = Judge(found, bank.sets, matrix.queries, matrix.train).predict(matrix.values)
        lds[key] = float(spearman_rows(predicted, found.target).mean())
        resamples[key] = resampled_lds(predicted, found.target, interval["bootstrap"], interval["seed"])
    rows = []
    for (method, v), value in lds.items():
        low, high = lds_ends(resamples[method, v], value, interval["confidence"])
        log.info("%s v=%s: LDS %.3f (%.3f to %.3f), ceiling %.3f", method, v, value, low, high, ceiling)
        over: list[float] = [float("nan")] * 3
        if (dmin := _dmin_beside(v, lds)) is not None:
            drawn, difference = resamples[method, v] - resamples[dmin], value - lds[dmin]
            over = [difference, *shifted_interval(drawn, difference, interval["confidence"])]
        facts = [method, v, query_set, value, low, high, *over, agreement, ceiling]
        rows.append([*facts, len(found.queries), len(found.sets), found.losses.shape[1], hardware_label()])
    write_csv(pd.DataFrame(rows, columns=COLUMNS), out)


def _dmin_beside(v: str, scored: Collection[tuple[str, str]]) -> tuple[str, str] | None:
    widths = [width for method, width in scored if method == REFERENCE]
    if not widths:
        return None
    return REFERENCE, v if v in widths else max(widths, key=lambda width: math.inf if width == "full" else int(width))
