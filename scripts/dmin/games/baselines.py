"""Contributions that no coalition is trained for: chance, size, and the scores of local methods added up by player."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dmin.attribution.score_matrix import ScoreMatrix
from dmin.catalogue.aggregates import AGGREGATES
from dmin.runtime.errors import UserError
from dmin.runtime.percentiles import Interval, percentile_interval
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

    def interval(self, interval: Interval) -> np.ndarray:
        """Return the ends ``[2, n]`` of the bootstrap interval over queries; NaN where there are fewer than two."""
        if self.queries is None or len(self.queries) < 2:
            return np.full((2, len(self.values)), np.nan)
        count = len(self.queries)
        generator = np.random.default_rng(derive_seed(interval["seed"], "queries"))
        rows = generator.integers(0, count, (interval["bootstrap"], count))
        means = np.array([self.queries[drawn].mean(axis=0) for drawn in rows])
        return percentile_interval(means, interval["confidence"])


def random_contributions(players: int, draws: int, seed: int) -> np.ndarray:
    """Return contributions ``[draws, players]`` that say nothing; more draws keep the first."""
    return np.array(
        [
            np.random.default_rng(derive_seed(seed, "random contributions", draw)).normal(size=players)
            for draw in range(draws)
        ]
    )


def judged_baselines(
    contributions: pd.DataFrame, behaviour: str, names: Sequence[str], draws: int, seed: int
) -> dict[str, np.ndarray]:
    """Return the contributions ``[draws, n]`` of every baseline to a behaviour; ``random`` draws anew, others repeat.

    Of few players a single random order is often a good one by chance.

    Args:
        contributions: see :func:`dmin.games.contributions.fit_contributions`.
        names: of the players, in the order of their numbers.
    """
    given = contributions[(contributions["behaviour"] == behaviour) & (contributions["coalitions"] == 0)]
    found = {}
    for name, part in given.groupby("estimator", sort=False):
        values = part.set_index("player").loc[list(names), "value"].to_numpy()
        found[str(name)] = np.tile(values, (draws, 1))
    if "random" in found:
        found["random"] = random_contributions(len(names), draws, seed)
    return found


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
    found = {
        "random": Baseline(random_contributions(len(samples), 1, seed)[0]),
        "size": Baseline(np.array([float(len(ids)) for ids in samples])),
    }
    for method, path in scores.items():
        for how, queries in aggregate_scores(ScoreMatrix.read(path), samples).items():
            found[f"{method}_{how}"] = Baseline(queries.mean(axis=0), queries)
    return found
