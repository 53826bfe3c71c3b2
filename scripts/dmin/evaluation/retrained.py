"""What retraining did to the losses of queries, whole or in a band of timesteps."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dmin.evaluation.ranks import spearman_rows
from dmin.runtime.errors import UserError
from dmin.runtime.parquet import read_parquet

FEWEST_SETS = 8
# Below it two trainings on one set agree so little that no order of methods can be told.
WEAKEST_CEILING = 0.2
# The timesteps that models are trained at.
TIMESTEPS = 1000


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
        """Read what :func:`measure_losses` wrote; a loss is the mean over all timesteps.

        Raises:
            UserError: as :meth:`RetrainedParts.read`.
        """
        return RetrainedParts.read(parts).within(0, TIMESTEPS)

    @property
    def target(self) -> np.ndarray:
        """What scores foretell: minus the loss, mean over seeds, ``[queries, sets]``; larger is better."""
        return -self.losses.mean(axis=1).T


def read_losses(files: Sequence[Path]) -> pd.DataFrame:
    """Return the rows of all files of :func:`measure_losses`.

    A range all of whose sets are left out has none, and is passed over: where its columns have no type, all would lose
    theirs.
    """
    tables = [read_parquet(file) for file in files]
    return pd.concat([table for table in tables if len(table)] or tables[:1])


@dataclass(frozen=True)
class RetrainedParts:
    """The losses of every query under every model, apart for each part of the timesteps.

    Attributes:
        queries: ids of the queries.
        sets: numbers of the sets, in the order of the rows of ``losses``.
        timesteps: the lowest timestep of each part, its highest, and how many it has; ``[parts, 3]``, ascending.
        losses: ``[sets, seeds, queries, parts]``.
    """

    queries: list[str]
    sets: list[int]
    timesteps: np.ndarray
    losses: np.ndarray

    @classmethod
    def read(cls, files: Sequence[Path]) -> RetrainedParts:
        """Read what :func:`measure_losses` wrote.

        Raises:
            UserError: fewer than 8 sets are left, or a retraining is missing.
        """
        table = read_losses(files)
        part = ["low_timestep", "high_timestep", "timesteps"]
        sets, repeats = (sorted({int(number) for number in table[level]}) for level in ("set", "repeat"))
        if len(sets) < FEWEST_SETS:
            raise UserError(
                f"{len(sets)} retrained sets are too few for an interval; set the bank's subsets so that at least "
                f"{FEWEST_SETS} are left."
            )
        cube = table.pivot_table(index=["set", "repeat"], columns=["query_id", *part], values="loss", sort=True)
        queries = sorted(set(cube.columns.get_level_values("query_id")))
        timesteps = np.array(sorted({column[1:] for column in cube.columns}))
        whole = len(queries) * len(timesteps)
        if len(cube) < len(sets) * len(repeats) or cube.shape[1] < whole or cube.isna().any(axis=None):
            raise UserError("The losses of a retraining are missing; delete the run's folder lds and run again.")
        shape = (len(sets), len(repeats), len(queries), len(timesteps))
        return cls(queries, sets, timesteps, cube.to_numpy().reshape(shape))

    def within(self, first: int, stop: int) -> Retrained:
        """Return the mean losses over the parts that begin at timestep ``first`` or later, and before ``stop``."""
        chosen = self._chosen(first, stop)
        losses = np.average(self.losses[..., chosen], axis=-1, weights=self.timesteps[chosen, 2])
        return Retrained(self.queries, self.sets, losses)

    def bands(self, starts: Sequence[int]) -> list[tuple[int, int, Retrained]]:
        """Return the lowest and the highest timestep of each band, and its losses.

        Args:
            starts: where a band begins; the first begins at 0. A band without a part is left out.
        """
        found = []
        for first, stop in itertools.pairwise([0, *sorted(starts), TIMESTEPS]):
            chosen = self._chosen(first, stop)
            if chosen.any():
                ends = int(self.timesteps[chosen, 0].min()), int(self.timesteps[chosen, 1].max())
                found.append((*ends, self.within(first, stop)))
        return found

    def _chosen(self, first: int, stop: int) -> np.ndarray:
        low = self.timesteps[:, 0]
        chosen: np.ndarray = (low >= first) & (low < stop)
        return chosen


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


def has_signal(ceiling: float) -> bool:
    """Say whether methods can be ranked under a ceiling; a single seed has none (NaN), and nothing speaks against."""
    return not ceiling < WEAKEST_CEILING
