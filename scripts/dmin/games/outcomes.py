"""What models did that were trained on coalitions of one law."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np

from dmin.games.laws import Law, importance, keys
from dmin.runtime.errors import UserError


@dataclass(frozen=True)
class Outcomes:
    """A behaviour of the models of some coalitions of a law, and of those of everyone and of no one.

    Attributes:
        law: what the coalitions were drawn from.
        member: boolean ``[m, n]``, true where a player is in.
        values: the behaviour ``[m]``, the mean over seeds.
        none: v(none), the behaviour without any player; NaN where it was not measured. ``all`` is v(all).
        drawn: how many different coalitions there are, where rows are repeated; 0 for as many as rows.
    """

    law: Law
    member: np.ndarray
    values: np.ndarray
    none: float = float("nan")
    all: float = float("nan")
    drawn: int = 0

    @property
    def players(self) -> int:
        """Number of players."""
        return self.member.shape[1]

    @property
    def gain(self) -> float:
        """v(all) - v(none)."""
        return self.all - self.none

    @cached_property
    def gram(self) -> np.ndarray:
        """How many players each two coalitions share, float64 ``[m, m]``."""
        # Exact: there are fewer than 2^24 players.
        return (self._single @ self._single.T).astype(np.float64)

    @cached_property
    def _single(self) -> np.ndarray:
        return self.member.astype(np.float32)

    def combine(self, dual: np.ndarray) -> np.ndarray:
        """Return ``X' dual``, float64 ``[n]``; of resampled coalitions in single precision."""
        if "_drawn_from" in self.__dict__:
            whole, rows = self.__dict__["_drawn_from"]
            weights = np.bincount(rows, weights=dual, minlength=len(whole.values))
            found: np.ndarray = (weights.astype(np.float32) @ whole._single).astype(np.float64)
            return found
        return dual @ self.member

    def first(self, count: int) -> Outcomes:
        """Return the first ``count`` coalitions."""
        return replace(self, member=self.member[:count], values=self.values[:count], drawn=0)

    def between(self, none: float, every: float) -> Outcomes:
        """Return the same coalitions between other ends."""
        found = replace(self, none=none, all=every)
        found.__dict__.update({name: self.__dict__[name] for name in ("gram", "_single") if name in self.__dict__})
        return found

    def resample(self, rows: np.ndarray) -> Outcomes:
        """Return the coalitions of ``rows``, with repeats, each as likely as it was."""
        drawn = self.drawn or len(self.values)
        found = replace(self, member=self.member[rows], values=self.values[rows], drawn=drawn)
        if "gram" in self.__dict__:
            # Of many thousand players, to count and to combine them anew would take longer than the fit.
            found.__dict__["gram"] = self.gram[np.ix_(rows, rows)]
            found.__dict__["_drawn_from"] = self, rows
        return found

    def weights(self, target: Literal["shapley", "uniform"]) -> np.ndarray:
        """Return the weights ``[n + 1]``, by size, with which the coalitions stand for a target law."""
        return importance(target, self.law, self.drawn or len(self.values))

    def table(self) -> dict[bytes, float]:
        """Return the value of every coalition, the empty and the full one included where they are known."""
        found = dict(zip(keys(self.member), self.values.tolist(), strict=True))
        ends = np.array([[False] * self.players, [True] * self.players])
        found |= {key: value for key, value in zip(keys(ends), (self.none, self.all), strict=True) if value == value}
        return found

    def single(self, without: bool) -> np.ndarray:
        """Return the values ``[n]`` of the coalitions of each player alone, or of all others ``without`` it.

        Raises:
            UserError: a player's is missing.
        """
        found = self.table()
        wanted = keys(np.eye(self.players, dtype=bool) ^ without)
        missing = [player for player, key in enumerate(wanted) if key not in found]
        if missing:
            law = "leave_one_out" if without else "add_one_in"
            raise UserError(
                f"No member was trained on the coalition of law '{law}' of player {missing[0]}; draw that law whole."
            )
        return np.array([found[key] for key in wanted])
