"""LDS pooled over banks and query sets: is one method ahead of another wherever it was judged?"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dmin.attribution.score_matrix import ScoreMatrix
from dmin.evaluation.intervals import shifted_interval
from dmin.evaluation.lds import Judge
from dmin.evaluation.ranks import spearman_rows
from dmin.evaluation.retrained import Retrained, has_signal, noise_ceiling
from dmin.runtime.atomic import write_csv
from dmin.runtime.meter import hardware_label
from dmin.runtime.percentiles import Interval
from dmin.runtime.seeds import derive_seed

log = logging.getLogger(__name__)

COLUMNS = [
    "method", "grid", "noise", "lds", "reference", "difference", "low", "high", "banks", "query_sets", "queries",
    "subsets", "hardware",
]  # fmt: skip
# What every method is compared with: the paper's, the best of gradients so far, and a baseline that reads none.
REFERENCES = ("dmin", "datainf", "pixels_centred")


@dataclass(frozen=True)
class PooledRun:
    """The files of a run that is pooled, and what tells it apart.

    Attributes:
        bank: name of the bank that judges it; runs of one bank share its sets.
        setting: the grid of its gradients' timesteps and the policy of their noise.
        scores: a score file for each method.
    """

    bank: str
    setting: tuple[str, str]
    losses: Sequence[Path]
    sets: Sequence[Path]
    scores: Mapping[str, Path]


@dataclass(frozen=True)
class JudgedRun:
    """What a bank says of a run: the ``target`` ``[queries, sets]``, and what each method foretells, as large."""

    bank: str
    target: np.ndarray
    predicted: Mapping[str, np.ndarray]

    def lds(self, methods: Sequence[str], queries: np.ndarray, sets: np.ndarray) -> np.ndarray:
        """Return the LDS of methods on some queries and sets, ``[methods]``."""
        predicted = np.stack([self.predicted[method] for method in methods])[:, queries][..., sets]
        mean: np.ndarray = spearman_rows(predicted, self.target[queries][:, sets]).mean(-1)
        return mean


def pooled_lds(runs: Sequence[JudgedRun], methods: Sequence[str]) -> np.ndarray:
    """Return the LDS ``[methods]``, each run's weighing the same."""
    whole = [run.lds(methods, *(np.arange(size) for size in run.target.shape)) for run in runs]
    mean: np.ndarray = np.mean(whole, axis=0)
    return mean


def resampled_pooled_lds(runs: Sequence[JudgedRun], methods: Sequence[str], resamples: int, seed: int) -> np.ndarray:
    """Return the pooled LDS ``[resamples, methods]`` of resamples, with replacement, of sets and queries.

    Runs of one bank share the sets that are drawn; queries are drawn for each run. The banks themselves are as they
    are: the interval is one of these banks.
    """
    values = np.empty((resamples, len(methods)))
    for number in range(resamples):
        drawn = []
        for place, run in enumerate(runs):
            of_sets = np.random.default_rng(derive_seed(seed, "pooled sets", run.bank, number))
            of_queries = np.random.default_rng(derive_seed(seed, "pooled queries", place, number))
            queries, sets = (
                generator.integers(0, size, size)
                for generator, size in zip((of_queries, of_sets), run.target.shape, strict=True)
            )
            drawn.append(run.lds(methods, queries, sets))
        values[number] = np.mean(drawn, axis=0)
    return values


def evaluate_pooled_lds(runs: Sequence[PooledRun], interval: Interval, out: Path) -> None:
    """Write the LDS of every method pooled over banks and query sets, with its paired difference to each reference.

    Runs whose gradients have other timesteps or noises are pooled apart. A method and a reference are compared over
    the runs that have both. A run whose bank has a ceiling below .2 for its queries is left out and told.

    Raises:
        UserError: as :meth:`Retrained.read` and :class:`Judge`.
    """
    rows = []
    for setting, judged in _by_setting(runs).items():
        for names, together in _shared_runs(judged):
            lds = pooled_lds(together, names)
            drawn = resampled_pooled_lds(together, names, interval["bootstrap"], interval["seed"])
            method, reference = names
            difference = float(lds[0] - lds[1])
            ends = shifted_interval(drawn[:, 0] - drawn[:, 1], difference, interval["confidence"])
            banks = {run.bank: run.target.shape[1] for run in together}
            facts = [len(banks), len(together), sum(len(run.target) for run in together), sum(banks.values())]
            rows.append([method, *setting, lds[0], reference, difference, *ends, *facts, hardware_label()])
            log.info("%s over %s, %s: %+.3f (%+.3f to %+.3f)", method, reference, setting, difference, *ends)
    write_csv(pd.DataFrame(rows, columns=COLUMNS), out)


def _by_setting(runs: Sequence[PooledRun]) -> dict[tuple[str, str], list[JudgedRun]]:
    found: dict[tuple[str, str], list[JudgedRun]] = {}
    for run in runs:
        retrained = Retrained.read(run.losses)
        ceiling = noise_ceiling(retrained.losses)[1]
        if not has_signal(ceiling):
            log.warning("bank %s has a ceiling of %.3f for a run's queries, which is left out", run.bank, ceiling)
            continue
        predicted = {}
        for method, path in run.scores.items():
            matrix = ScoreMatrix.read(path)
            predicted[method] = Judge(retrained, run.sets, matrix.queries, matrix.train).predict(matrix.values)
        found.setdefault(run.setting, []).append(JudgedRun(run.bank, retrained.target, predicted))
    return found


def _shared_runs(judged: Sequence[JudgedRun]) -> Iterator[tuple[list[str], list[JudgedRun]]]:
    """Yield each method with each reference, and the runs that have both."""
    methods = list(dict.fromkeys(method for run in judged for method in run.predicted))
    for method in methods:
        for reference in REFERENCES:
            together = [run for run in judged if {method, reference} <= set(run.predicted)]
            if together and method != reference:
                yield [method, reference], together
