"""Games: coalitions of contributors, the members trained on them, and what is measured of these."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from ..catalogue.behaviours import BEHAVIOURS
from ..settings.games import Game as GameSettings
from .files import image_files
from .models import Model
from .ranges import cut_ranges, repeated_in
from .values import canonical, pick

# Coalitions have numbers for good: those of a block count from its start, so that more of one keep all others.
BLOCK = 10_000
FIT_LAWS = ("datamodel", "uniform", "shapley", "leave_one_out", "add_one_in", "permutation")
ONE_PER_PLAYER = ("leave_one_out", "add_one_in")
_STARTS = {"exact": 0, **{law: BLOCK * (1 + place) for place, law in enumerate(FIT_LAWS)}}
# The test coalitions of a share of p percent begin at block 100 + p.
_TEST, _CURVE = 100 * BLOCK, 300 * BLOCK
MOST_EXACT = 12
PARTS = ("exact", "fit", "test", "curve")
TRAINERS = ("retrain", "unlearn", "sparsified")
# Further noises, and the models that members are compared with.
FULL, PRUNED = "full", "pruned"


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

    def part_table(self, part: str) -> str:
        """Return the table that holds the coalitions of a part."""
        return f"{self.folder}/curves.parquet" if part == "curve" else self.coalitions

    @property
    def left_out(self) -> list[tuple[str, int]]:
        """The (trainer, coalition) of every member that is excluded."""
        return [(entry.split("/")[0], int(entry.split("/")[1])) for entry in self.settings["exclude"]]

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

    @property
    def finetuned(self) -> dict[str, Any]:
        """How members go on with a trained model: the model's training with the settings of unlearning."""
        return {**self.model.training, "train": self._training(dict(self.settings["unlearning"]))}

    @property
    def pruned_training(self) -> dict[str, Any]:
        """How the pruned model is trained on all data."""
        return {
            **self.model.training,
            "train": self._training(pick(self.settings["pruning"], "steps", "learning_rate", "warmup_steps")),
        }

    def _training(self, changed: dict[str, Any]) -> dict[str, Any]:
        return canonical({**self.model.settings["train"], **changed, "checkpoints": []})

    def tuning(self, trainer: str) -> dict[str, Any]:
        """Return how a trainer trains: as the model was trained, or going on with a trained one."""
        return (
            canonical({**self.model.training, "train": self._training({})}) if trainer == "retrain" else self.finetuned
        )

    @property
    def pruned(self) -> str:
        """The weights of the pruned model."""
        return f"{self.folder}/pruned/{self.model.weights.rpartition('/')[2]}"

    def start(self, trainer: str) -> list[str]:
        """Return the weights that a trainer goes on with; none for one that starts from nothing."""
        return {"retrain": [], "unlearn": [self.model.weights], "sparsified": [self.pruned]}[trainer]

    @property
    def image_settings(self) -> dict[str, Any]:
        """What the images of a member depend on."""
        return {"seed": self.settings["seed"], **pick(self.settings["images"], "count", "steps", "guidance")}

    @property
    def anchors(self) -> list[str]:
        """The whole model, on the noises of the members and on others, and the pruned one where there is one."""
        repeats = [f"repeat{number}" for number in range(1, self.settings["images"]["repeats"] + 1)]
        return [FULL, *repeats, *([PRUNED] if "sparsified" in self.all_trainers else [])]

    def anchor_weights(self, anchor: str) -> str:
        """Return the weights of an anchor."""
        return self.pruned if anchor == PRUNED else self.model.weights

    @property
    def own_encoder(self) -> list[str]:
        """The file of an encoder's weights; none for the installed one."""
        path = self.settings["encoder"]["path"]
        return image_files(path) if path else []

    def needs(self, behaviour: str) -> set[str]:
        """Return what a behaviour compares with."""
        needs = set(BEHAVIOURS[behaviour].needs)
        if "groups" in needs:
            needs = needs - {"groups"} | ({"train"} if self.settings["clusters"] else {"classifier"})
        return needs

    def reads(self, behaviour: str) -> str:
        """Return what a behaviour reads of a member: its ``images``, their ``features``, or its ``model``."""
        clustered = "groups" in BEHAVIOURS[behaviour].needs and self.settings["clusters"]
        return "features" if clustered else BEHAVIOURS[behaviour].reads

    def table(self, name: str) -> str:
        """Return a table of the game."""
        return f"{self.folder}/tables/{name}.csv"

    def values(self, *parts: str) -> list[str]:
        """Return the tables of all behaviours of the members of some parts."""
        return [
            f"{self.folder}/members/{trainer}/{part}/values/{behaviour}/{name}.csv"
            for trainer, part, name in self.banks(*parts)
            for behaviour in self.settings["behaviours"]
        ]


def coalition_size(players: int, alpha: float) -> int:
    """Return how many players a coalition of the law datamodel has, in exact arithmetic."""
    return math.floor(Fraction(str(alpha)) * players)
