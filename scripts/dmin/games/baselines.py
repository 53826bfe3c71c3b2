"""Contributions that no coalition is trained for: chance, size, and the scores of local methods added up by player."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dmin.attribution.score_matrix import ScoreMatrix
from dmin.catalogue.estimators import AGGREGATES
from dmin.games.resampling import IntervalSettings, interval_ends
from dmin.runtime.errors import UserError
from dmin.runtime.seeds import derive_seed


@dataclass(frozen=True)
class Baseline:
    """Contributions in units of their own.

    Attributes:
        values: ``[n]``, the mean over ``queries``.
        queries: ``[queries, n]``, what each query says; None where there are none.
    """

    values: np.ndarray
    queries: np.ndarray | None = None

    def interval(self, interval: IntervalSettings) -> np.ndarray:
        """Return the ends ``[2, n]`` of the bootstrap interval over queries; NaN where there are none."""
        if self.queries is None:
            return np.full((2, len(self.values)), np.nan)
        count = len(self.queries)
        generator = np.random.default_rng(derive_seed(interval["seed"], "queries"))
        rows = generator.integers(0, count, (interval["bootstrap"], count))
        return interval_ends(np.array([self.queries[drawn].mean(axis=0) for drawn in rows]), interval)


def aggregate_scores(scores: ScoreMatrix, samples: Sequence[Sequence[str]]) -> dict[str, np.ndarray]:
    """Return the ``sum``, ``mean`` and ``max`` of the scores of each player's samples, each ``[queries, n]``.

    Raises:
        UserError: a player's sample was not scored.
    """
    places = {name: place for place, name in enumerate(scores.train)}
    missing = [name for ids in samples for name in ids if name not in places]
    if missing:
        raise UserError(
            f"Training sample '{missing[0]}' of a player was not scored by the game's run; name a run of its model."
        )
    values = np.asarray(scores.values, dtype=np.float64)
    found: dict[str, list[np.ndarray]] = {how: [] for how in AGGREGATES}
    for ids in samples:
        part = values[:, [places[name] for name in ids]]
        for how in AGGREGATES:
            found[how].append(getattr(part, how)(axis=1))
    return {how: np.array(columns).T for how, columns in found.items()}


def find_baselines(samples: Sequence[Sequence[str]], scores: Mapping[str, Path], seed: int) -> dict[str, Baseline]:
    """Return all baselines by name; those of a local method end in how its scores were aggregated.

    Args:
        samples: ids of the training samples of each player.
        scores: a score matrix of each local method.

    Raises:
        UserError: as :func:`aggregate_scores`.
    """
    generator = np.random.default_rng(derive_seed(seed, "random contributions"))
    found = {
        "random": Baseline(generator.normal(size=len(samples))),
        "size": Baseline(np.array([float(len(ids)) for ids in samples])),
    }
    for method, path in scores.items():
        for how, queries in aggregate_scores(ScoreMatrix.read(path), samples).items():
            found[f"{method}_{how}"] = Baseline(queries.mean(axis=0), queries)
    return found
