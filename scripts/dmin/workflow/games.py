"""Games: coalitions of contributors, the members trained on them, and what is measured of these."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from ..settings.games import Game as GameSettings
from .models import Model
from .ranges import cut_ranges, range_ends, repeated_in
from .values import canonical, pick

# Coalitions have numbers for good: those of a block count from its start, so that more of one keep all others.
BLOCK = 10_000
FIT_LAWS = ("datamodel", "uniform", "shapley", "leave_one_out", "add_one_in", "permutation")
ONE_PER_PLAYER = ("leave_one_out", "add_one_in")
_STARTS = {"exact": 0, **{law: BLOCK * (1 + place) for place, law in enumerate(FIT_LAWS)}}
# The test coalitions of a share of p percent begin at block 100 + p.
_TEST, _CURVE = 100 * BLOCK, 300 * BLOCK
MOST_EXACT = 12
# Of so many, a coalition may well be drawn twice.
FEW_PLAYERS = 24
PARTS = ("exact", "fit", "test", "curve")
TRAINERS = ("retrain", "unlearn", "sparsified")


@dataclass(frozen=True)
class Block:
    """Coalitions ``start`` to ``start + count`` of one law.

    ``exact`` has nobody, then everybody; with law ``all``, coalition k of the rest holds player i where bit i of
    ``k - 1`` is set.
    """

    part: str
    law: str
    start: int
    count: int
    alpha: float | None = None


@dataclass(frozen=True)
class Game:
    """A game on the training data of a model."""

    name: str
    settings: GameSettings
    model: Model

    @property
    def folder(self) -> str:
        """The folder of all its files."""
        return f"<results>/games/{self.name}"

    @property
    def players(self) -> str:
        """The table of its players and their samples."""
        return f"{self.folder}/players.json"

    @property
    def coalitions(self) -> str:
        """The table of all coalitions but those of curves."""
        return f"{self.folder}/coalitions.parquet"

    @property
    def player_count(self) -> int | None:
        """How many players there are; None where only the data tell, and the config does not."""
        dataset, by = self.model.dataset, self.settings["players"]["by"]
        if by == "sample":
            return dataset.counts.train
        if by == "subset":
            return len(dataset.subsets) + (dataset.counts.copies > 0)
        if by == "label" and dataset.settings["classes"]:
            return len(dataset.settings["classes"])
        return self.settings["players"]["count"]

    @property
    def player_settings(self) -> dict[str, Any]:
        """What the table of players depends on."""
        return {"by": self.settings["players"]["by"], "count": self.player_count}

    def blocks(self, part: str) -> list[Block]:
        """Return the coalitions of a part."""
        settings, players = self.settings["coalitions"], self.player_count or 0
        if part == "exact":
            every = settings["exact"]["all"]
            return [Block(part, "all", 0, 2**players)] if every else [Block(part, "ends", 0, 2)]
        if part == "fit":
            fit = settings["fit"]
            return [
                Block(part, law, _STARTS[law], players if law in ONE_PER_PLAYER else fit["count"], fit["alpha"])
                for law in FIT_LAWS
                if law in fit["laws"]
            ]
        if part == "test":
            test = settings["test"]
            return [
                Block(part, "datamodel", _TEST + BLOCK * round(100 * alpha), test["count"], alpha)
                for alpha in sorted(test["alphas"])
            ]
        return [Block(part, "curve", _CURVE, len(self.curve_coalitions))] if self.curve_coalitions else []

    @property
    def curve_coalitions(self) -> list[tuple[str, str, float]]:
        """The (estimator, ``remove`` or ``keep``, share of the players) of every coalition of a curve, in order."""
        curve = self.settings["coalitions"]["curve"]
        return [
            (estimator, kind, share)
            for estimator in curve["estimators"]
            for kind in ("remove", "keep")
            for share in sorted(curve["shares"])
        ]

    @property
    def drawn(self) -> list[dict[str, Any]]:
        """What the coalitions of the table depend on, block by block; an alpha for the law that has one."""
        return [
            canonical(
                {
                    "part": block.part,
                    "law": block.law,
                    "start": block.start,
                    "count": block.count,
                    "alpha": block.alpha if block.law == "datamodel" else None,
                    # Of few players, what the test holds may be what the fit would have drawn.
                    "avoids": block.part == "fit" and (self.player_count or 0) <= FEW_PLAYERS,
                    "stratified": block.part == "fit"
                    and block.law == "datamodel"
                    and self.settings["coalitions"]["fit"]["stratified"],
                }
            )
            for part in ("exact", "fit", "test")
            for block in self.blocks(part)
        ]

    def seeds(self, part: str) -> int:
        """Return how many members a trainer makes of each coalition of a part."""
        seeds: int = self.settings["coalitions"][part]["seeds"]  # type: ignore[literal-required]
        return seeds

    def trainers(self, part: str) -> list[str]:
        """Return who trains the members of a part, in a fixed order; none of a part without coalitions."""
        wanted = self.settings["coalitions"][part]["trainers"]  # type: ignore[literal-required]
        return [trainer for trainer in TRAINERS if trainer in wanted] if self.blocks(part) else []

    @property
    def all_trainers(self) -> list[str]:
        """Every trainer of the game."""
        return [trainer for trainer in TRAINERS if any(trainer in self.trainers(part) for part in PARTS)]

    def ranges(self, part: str) -> list[str]:
        """Return the ranges of members that one job each trains; a coalition's members stand one after another."""
        seeds, per_job = self.seeds(part), self.settings["per_job"]
        return [
            name
            for block in self.blocks(part)
            for name in cut_ranges(block.count * seeds, per_job, block.start * seeds)
        ]

    def banks(self, *parts: str) -> Iterator[tuple[str, str, str]]:
        """Yield the (trainer, part, range) of every job that trains members of some parts."""
        for part in parts:
            for trainer in self.trainers(part):
                for name in self.ranges(part):
                    yield trainer, part, name

    def members(self, kind: str, trainer: str, part: str, name: str) -> str:
        """Return a file of a range of members: its ``models`` (a folder), ``images``, ``features`` or metrics."""
        suffix = {"models": "", "images": ".parquet", "features": ".safetensors"}[kind]
        return f"{self.folder}/members/{trainer}/{part}/{kind}/{name}{suffix}"

    def coalitions_of(self, part: str, name: str) -> str:
        """Return the table that holds the coalitions of a range of members, which no other range changes."""
        return f"{self.folder}/curves.parquet" if part == "curve" else f"{self.folder}/coalitions/{part}/{name}.parquet"

    def span(self, part: str, name: str) -> list[int]:
        """Return the first and the last coalition of a range of members."""
        numbers = repeated_in(name, self.seeds(part))
        return [numbers[0], numbers[-1]]

    def drawn_at(self, part: str, name: str) -> list[dict[str, Any]]:
        """Return what the coalitions of a range depend on: its block up to its last, and what that passes over."""
        first, last = self.span(part, name)
        block = next(block for block in self.drawn if block["start"] <= first < block["start"] + block["count"])
        held = [other for other in self.drawn if block["avoids"] and other["part"] == "test"]
        return [{**block, "count": last - block["start"] + 1}, *held]

    @property
    def left_out(self) -> list[tuple[str, int]]:
        """The (trainer, coalition) of every member that is excluded."""
        return [(entry.split("/")[0], int(entry.split("/")[1])) for entry in self.settings["exclude"]]

    def records(self, *parts: str) -> list[str]:
        """Return the records of the coalitions that members of some parts were trained on."""
        return [
            f"{self.folder}/sets/{part}/{name}.json"
            for part in parts
            if self.trainers(part)
            for name in self.ranges(part)
        ]

    def read_settings(self, trainer: str, part: str, name: str) -> dict[str, Any]:
        """Return which members a range has."""
        return pick(self.bank_settings(trainer, part, name), "exclude", "seeds")

    def bank_settings(self, trainer: str, part: str, name: str) -> dict[str, Any]:
        """Return the settings that the members of a range depend on, beside model and trainer."""
        numbers = repeated_in(name, self.seeds(part))
        left_out = [number for who, number in self.left_out if who == trainer and number in numbers]
        return {
            "advice": f"add {trainer}/{{set}} to games.{self.name}.exclude",
            "budget": self.settings["budget"] if trainer == "retrain" else "steps",
            "exclude": sorted(left_out),
            "seed": self.settings["seed"],
            "seeds": self.seeds(part),
        }

    def member_names(self, trainer: str, part: str, name: str) -> list[str]:
        """Return the folders of the members of a range, those left out not among them."""
        seeds, settings = self.seeds(part), self.bank_settings(trainer, part, name)
        start, stop = range_ends(name)
        pairs = [divmod(number, seeds) for number in range(start, stop)]
        return [f"set{number:04d}-{repeat}" for number, repeat in pairs if number not in settings["exclude"]]

    @property
    def pruned_rank(self) -> int:
        """The rank of a pruned adapter."""
        rank = self.model.settings["lora"]["rank"]
        return rank - round(self.settings["pruning"]["ratio"] * rank)

    def _tuning(self, trainer: str) -> dict[str, Any]:
        """Return the model's section of training, for an adapter with the rank that it has under a trainer."""
        training = self.model.training
        if trainer == "sparsified" and "lora" in training:
            return {**training, "lora": {**training["lora"], "rank": self.pruned_rank}}
        return training

    @property
    def pruned_training(self) -> dict[str, Any]:
        """How the pruned model is trained on all data."""
        changed = pick(self.settings["pruning"], "steps", "learning_rate", "warmup_steps")
        return self._changed("sparsified", changed)

    def tuning(self, trainer: str) -> dict[str, Any]:
        """Return how a trainer trains: as the model was trained, or going on with a trained one; members have seeds."""
        return self._changed(trainer, {} if trainer == "retrain" else dict(self.settings["unlearning"]), seed=0)

    def _changed(self, trainer: str, changed: dict[str, Any], **seeded: int) -> dict[str, Any]:
        train = {**self.model.settings["train"], **changed, **seeded, "checkpoints": []}
        return canonical({**self._tuning(trainer), "train": train})

    @property
    def pruned(self) -> str:
        """The weights of the pruned model."""
        return f"{self.folder}/pruned/{self.model.weights.rpartition('/')[2]}"

    def start(self, trainer: str) -> dict[str, str]:
        """Return the weights that a trainer goes on with, as ``start``; none for one that starts from nothing."""
        weights = {"unlearn": self.model.weights, "sparsified": self.pruned}
        return {"start": weights[trainer]} if trainer in weights else {}

    def pruning_files(self, *names: str) -> list[str]:
        """Return files beside the pruned model, where there is one."""
        return [f"{self.folder}/pruned/{name}" for name in names] if "sparsified" in self.all_trainers else []

    def table(self, name: str) -> str:
        """Return a table of the game."""
        return f"{self.folder}/tables/{name}.csv"


def coalition_size(players: int, alpha: float) -> int:
    """Return how many players a coalition of the law datamodel has, in exact arithmetic."""
    return math.floor(Fraction(str(alpha)) * players)
