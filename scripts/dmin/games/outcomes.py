"""What models did that were trained on coalitions of one law."""

from __future__ import annotations

from dataclasses import dataclass, replace
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

    def first(self, count: int) -> Outcomes:
        """Return the first ``count`` coalitions."""
        return replace(self, member=self.member[:count], values=self.values[:count], drawn=0)

    def resample(self, rows: np.ndarray) -> Outcomes:
        """Return the coalitions of ``rows``, with repeats, each as likely as it was."""
        drawn = self.drawn or len(self.values)
        return replace(self, member=self.member[rows], values=self.values[rows], drawn=drawn)

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
