"""What the members of a game did, coalition by coalition."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from dmin.games.coalitions import Coalitions, law_seed
from dmin.games.laws import Law, keys
from dmin.games.outcomes import Outcomes
from dmin.games.resampling import Noise, seed_noise
from dmin.runtime.errors import UserError
from dmin.runtime.readers import read_csv, read_json

MEMBER_COLUMNS = ["coalition", "seed", "trainer", "behaviour", "value"]
# Members that are nearest to a retrained one come first.
TRAINERS = ("sparsified", "unlearn", "retrain")


@dataclass(frozen=True)
class RecordFiles:
    """The files that records are read from.

    Attributes:
        players: JSON with ``players`` and ``samples``.
        coalitions: see :func:`write_coalitions`.
        members: columns ``coalition, seed, trainer, behaviour, value``.
        seed: of the game.
    """

    players: Path
    coalitions: Path
    members: Path
    seed: int


@dataclass(frozen=True)
class Records:
    """The values of all members of a game.

    Attributes:
        names: of the players; ``sizes`` are how many samples each has.
        members: see :class:`RecordFiles`.
        seed: of the game, which laws are drawn from.
    """

    names: list[str]
    samples: list[list[str]]
    coalitions: Coalitions
    members: pd.DataFrame
    seed: int

    @classmethod
    def read(cls, files: RecordFiles) -> Records:
        """Read the files of a game.

        Raises:
            UserError: they are of different players, or a member is of an unknown coalition or has no finite value.
        """
        who = read_json(files.players)
        coalitions = Coalitions.read(files.coalitions)
        if coalitions.member.shape[1] != len(who["players"]):
            raise UserError(
                f"'{files.coalitions}' is of {coalitions.member.shape[1]} players, '{files.players}' of "
                f"{len(who['players'])}; remove both and run again."
            )
        members = read_csv(files.members)
        unknown = sorted(set(members["coalition"]) - set(coalitions.facts.index))
        if unknown:
            raise UserError(
                f"'{files.members}' has coalition {unknown[0]}, which '{files.coalitions}' lacks; make both again."
            )
        lost = members[~np.isfinite(members["value"])]
        if len(lost):
            row = lost.iloc[0]
            raise UserError(
                f"Behaviour {row['behaviour']} of member {row['trainer']}/{row['coalition']} is not finite; add "
                f"{row['trainer']}/{row['coalition']} to exclude of the game, or leave the behaviour out."
            )
        return cls(who["players"], who["samples"], coalitions, members, files.seed)

    @property
    def sizes(self) -> list[int]:
        """How many training samples each player has."""
        return [len(ids) for ids in self.samples]

    @property
    def behaviours(self) -> list[str]:
        """All behaviours, sorted."""
        return sorted(self.members["behaviour"].unique())

    @cached_property
    def _places(self) -> dict[int, int]:
        return {number: place for place, number in enumerate(self.coalitions.facts.index)}

    @cached_property
    def _values(self) -> dict[tuple[str, str], pd.DataFrame]:
        groups = self.members.groupby(["behaviour", "trainer"])
        return {
            (str(behaviour), str(trainer)): rows.pivot(index="coalition", columns="seed", values="value")
            for (behaviour, trainer), rows in groups
        }

    def values(self, behaviour: str, trainer: str, part: str | None = None, law: str | None = None) -> pd.DataFrame:
        """Return the values of coalitions by seed, NaN where there is none, indexed by coalition.

        Args:
            part: of the coalitions; by default of all.
            law: likewise.
        """
        table = self._values.get((behaviour, trainer), pd.DataFrame())
        facts = self.coalitions.facts.loc[table.index]
        kept = np.ones(len(table), dtype=bool)
        for column, wanted in (("part", part), ("law", law)):
            if wanted is not None:
                kept &= (facts[column] == wanted).to_numpy()
        return table[kept].dropna(axis=1, how="all")

    def member(self, numbers: pd.Index) -> np.ndarray:
        """Return who is in the coalitions of these numbers, boolean ``[m, n]``."""
        places = [self._places[number] for number in numbers]
        rows: np.ndarray = self.coalitions.member[places]
        return rows

    def laws(self, trainer: str) -> list[str]:
        """Return the laws of the fit that a trainer has members of, and ``all`` where its exact part has that law."""
        numbers = self.members.loc[self.members["trainer"] == trainer, "coalition"].unique()
        facts = self.coalitions.facts.loc[numbers]
        return sorted(set(facts.loc[facts["part"] == "fit", "law"]) | set(facts["law"]) & {"all"})

    @property
    def trainers(self) -> list[str]:
        """All trainers; one whose members stand in for retrained ones before ``retrain``."""
        return [name for name in TRAINERS if name in set(self.members["trainer"])]

    @property
    def fitting(self) -> str | None:
        """The trainer that estimators are fitted on: the first that has coalitions of a fit, else all coalitions."""
        asked = [name for name in self.trainers if set(self.laws(name)) - {"all"}]
        asked = asked or [name for name in self.trainers if "all" in self.laws(name)]
        return asked[0] if asked else None

    @property
    def exact(self) -> list[str]:
        """The trainers that have every coalition, those first that come nearest to the truth."""
        every = set(self.coalitions.facts.index[self.coalitions.facts["law"] == "all"])
        if len(every) < 2 ** len(self.names):
            return []
        of = {name: set(rows["coalition"]) for name, rows in self.members.groupby("trainer")}
        return [name for name in reversed(self.trainers) if every <= of[name]]

    def outcomes(self, behaviour: str, trainer: str, law: str) -> Outcomes:
        """Return what the coalitions of a law did under a trainer, with v(none) and v(all) under the same.

        Raises:
            UserError: it has none.
        """
        part = "exact" if law == "all" else "fit"
        table = self.values(behaviour, trainer, part, law)
        if table.empty:
            raise UserError(
                f"Trainer {trainer} has no members of law '{law}' whose {behaviour} was measured; add the law to the "
                "game's coalitions, or the trainer to them."
            )
        member = self.member(table.index)
        none, everyone = self.ends(behaviour, trainer)
        size = int(member[0].sum()) if law == "datamodel" else 0
        drawn = Law(law, len(self.names), law_seed(self.seed, part), size)
        return Outcomes(drawn, member, table.mean(axis=1).to_numpy(), none, everyone)

    def ends(self, behaviour: str, trainer: str) -> tuple[float, float]:
        """Return v(none) and v(all) under a trainer; NaN where they were not measured."""
        table = self.values(behaviour, trainer, "exact").mean(axis=1)
        sizes = self.member(table.index).sum(axis=1) if len(table) else np.array([])
        found = [table[sizes == size] for size in (0, len(self.names))]
        none, everyone = (float(rows.iloc[0]) if len(rows) else float("nan") for rows in found)
        return none, everyone

    def member_noise(self, behaviour: str, trainer: str) -> float:
        """Return the standard deviation of a member's value that is due to its seed; NaN with one seed.

        It is pooled over all coalitions that the trainer trained more than once, whatever their part.
        """
        return seed_noise(self.values(behaviour, trainer).to_numpy())

    def seeds(self, behaviour: str, trainer: str, law: str) -> int:
        """Return how many members a coalition of a law has; ``ends`` are v(none) and v(all)."""
        parts = {"all": ("exact", "all"), "ends": ("exact", None)}
        return self.values(behaviour, trainer, *parts.get(law, ("fit", law))).shape[1]

    def noise(self, behaviour: str, trainer: str, law: str) -> Noise:
        """Return how much of a law's values, and of v(none) and v(all), is due to seeds.

        NaN where no coalition of the trainer has two.
        """
        one = self.member_noise(behaviour, trainer)
        seeds = [max(1, self.seeds(behaviour, trainer, name)) for name in (law, "ends")]
        return Noise(*(one / np.sqrt(seeds)).tolist())

    def without(self, player: int) -> np.ndarray:
        """Return the numbers of the coalitions without a player, the largest first, the empty one left out."""
        sizes = self.coalitions.member.sum(axis=1)
        places = np.flatnonzero(~self.coalitions.member[:, player] & (sizes > 0))
        order = places[np.argsort(-sizes[places], kind="stable")]
        return self.coalitions.facts.index.to_numpy()[order]

    def shared(self, behaviour: str, trainer: str, reference: str) -> pd.DataFrame:
        """Return the means over seeds of the coalitions that two trainers have, but the empty and the full one.

        Columns ``reference, value, part, players``; coalitions that differ in number alone count once.
        """
        left, right = (self.values(behaviour, name).mean(axis=1) for name in (reference, trainer))
        table = pd.DataFrame({"reference": left, "value": right}).dropna()
        member = self.member(table.index)
        table["part"] = self.coalitions.facts.loc[table.index, "part"]
        table["players"] = member.sum(axis=1)
        once = ~pd.Series(keys(member), index=table.index).duplicated()
        return table[once & (table["players"] % len(self.names) != 0)]
