"""What is measured of the members of a game, and of the models that they are compared with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..catalogue.behaviours import BEHAVIOURS
from .games import TRAINERS, Game
from .values import canonical, pick

# The whole model on the noises of the members, and the pruned one; repeats are the whole model on others.
FULL, PRUNED, REPEAT = "full", "pruned", "repeat"
# What no result of a behaviour that reads no features depends on.
_NO_ENCODER = {"kind": "efficientnet", "path": None}


@dataclass(frozen=True)
class Measures:
    """The behaviours of a game, and the files that they are measured on."""

    game: Game

    @property
    def behaviours(self) -> list[str]:
        """All behaviours of the game."""
        return self.game.settings["behaviours"]

    @property
    def image_settings(self) -> dict[str, Any]:
        """What the images of a member depend on."""
        settings = self.game.settings
        size = self.game.model.dataset.settings["size"]
        return {"seed": settings["seed"], "size": size, **pick(settings["images"], "count", "steps", "guidance")}

    @property
    def encoder(self) -> dict[str, Any]:
        """What gives features; the game's classifier under its own path."""
        encoder = dict(self.game.settings["encoder"])
        return encoder | ({"path": self.game.settings["classifier"]} if encoder["kind"] == "classifier" else {})

    @property
    def encoder_files(self) -> list[str]:
        """The files of the encoder's weights, and of a classifier its description; none for the installed one."""
        if self.encoder["kind"] == "classifier":
            return self._classifier_files
        path = self.encoder["path"]
        return [str(Path(path))] if path else []

    @property
    def _classifier_files(self) -> list[str]:
        path = self.game.settings["classifier"]
        return [str(Path(path)), str(Path(path).with_suffix(".json"))] if path else []

    def classifier_files(self, behaviour: str) -> list[str]:
        """Return the weights and the description of the classifier that a behaviour asks; none where it asks none."""
        return self._classifier_files if "classifier" in self.needs(behaviour) else []

    def base_files(self, behaviour: str) -> list[str]:
        """Return the files of the base that a behaviour loads; none where it reads what members left."""
        return self.game.model.base.files if self.reads(behaviour) == "model" else []

    @property
    def repeats(self) -> list[str]:
        """The whole model on further noises."""
        return [f"{REPEAT}{number}" for number in range(1, self.game.settings["images"]["repeats"] + 1)]

    def repeat(self, anchor: str) -> int:
        """Return the number of an anchor's noises; 0 is that of the members."""
        return int(anchor.removeprefix(REPEAT)) if anchor.startswith(REPEAT) else 0

    def anchor_weights(self, anchor: str) -> str:
        """Return the weights of an anchor."""
        return self.game.pruned if anchor == PRUNED else self.game.model.weights

    def anchor(self, kind: str, name: str) -> str:
        """Return the ``images`` or ``features`` of an anchor."""
        suffix = {"images": ".parquet", "features": ".safetensors"}[kind]
        return f"{self.game.folder}/anchors/{kind}/{name}{suffix}"

    def needs(self, behaviour: str) -> set[str]:
        """Return what a behaviour compares with."""
        needs = set(BEHAVIOURS[behaviour].needs)
        if "groups" in needs:
            needs = needs - {"groups"} | ({"train"} if self._clustered(behaviour) else {"classifier"})
        return needs

    def reads(self, behaviour: str) -> str:
        """Return what a behaviour reads of a member: its ``images``, their ``features``, or its ``model``."""
        return "features" if self._clustered(behaviour) else BEHAVIOURS[behaviour].reads

    def _clustered(self, behaviour: str) -> bool:
        return "groups" in BEHAVIOURS[behaviour].needs and self.game.settings["clusters"] is not None

    def behaviour_settings(self, behaviour: str, anchor: str = FULL) -> dict[str, Any]:
        """Return what a behaviour depends on, beside files; what it does not depend on is set to one value for all."""
        settings, reads = self.game.settings, self.reads(behaviour)
        model = reads == "model"
        return canonical(
            {
                "encoder": self.encoder if reads == "features" else _NO_ENCODER,
                "timesteps": settings["reference"]["timesteps"] if model else 1,
                "seed": settings["seed"] if model else 0,
                "repeat": self.repeat(anchor) if model else 0,
                "clusters": settings["clusters"] if self._clustered(behaviour) else None,
                "number": settings["query"] if "query" in self.needs(behaviour) else 0,
            }
        )

    def _references(self, behaviour: str) -> dict[str, str]:
        folder, needs = self.game.folder, self.needs(behaviour) - {"classifier"}
        files = {"train": f"{folder}/train/features.safetensors", "reference": f"{folder}/asked/reference.safetensors"}
        asked = "query" if self.reads(behaviour) == "model" else "query_images"
        files |= {"query": f"{folder}/asked/query.{'safetensors' if asked == 'query' else 'parquet'}"}
        return {asked if need == "query" else need: files[need] for need in sorted(needs)}

    def measured(self, behaviour: str, trainer: str, part: str, name: str) -> dict[str, str]:
        """Return the files that a behaviour of a range of members is measured on, beside base and classifier."""
        reads = self.reads(behaviour)
        kind = "models" if reads == "model" else reads
        return {kind: self.game.members(kind, trainer, part, name), **self._references(behaviour)}

    def measured_anchor(self, behaviour: str, anchor: str) -> dict[str, str]:
        """Return the files that a behaviour of an anchor is measured on, beside base and classifier."""
        reads, references = self.reads(behaviour), self._references(behaviour)
        if reads == "model":
            return {"weights": self.anchor_weights(anchor), **references}
        return {reads: self.anchor(reads, anchor), **references}

    def values(self, *parts: str) -> list[str]:
        """Return the tables of all behaviours of the members of some parts."""
        return [path for _, path in self._values(*parts)]

    def trainers_of_values(self, *parts: str) -> list[str]:
        """Return who trained the members of each of these tables."""
        return [trainer for trainer, _ in self._values(*parts)]

    def _values(self, *parts: str) -> list[tuple[str, str]]:
        return [
            (trainer, f"{self.game.folder}/members/{trainer}/{part}/values/{behaviour}/{name}.csv")
            for trainer, part, name in self.game.banks(*parts)
            for behaviour in sorted(self.behaviours)
        ]

    @property
    def noise_values(self) -> list[str]:
        """The tables of all behaviours of the whole model on further noises."""
        return [
            f"{self.game.folder}/anchors/values/{behaviour}/{anchor}.csv"
            for behaviour in sorted(self.behaviours)
            for anchor in self.repeats
        ]

    @property
    def metrics(self) -> list[tuple[str, str]]:
        """The trainer and the metrics file of every job that trains members of coalitions."""
        return [
            (trainer, f"{self.game.members('models', trainer, part, name)}.metrics.json")
            for trainer, part, name in self.game.banks("exact", "fit", "test")
        ]

    @property
    def trained_steps(self) -> dict[str, int]:
        """The steps of each trainer on all the data."""
        return {trainer: self.game.tuning(trainer)["train"]["steps"] for trainer in TRAINERS}

    @property
    def trained_samples(self) -> dict[str, int]:
        """The samples that each trainer sees on all the data, and those of the pruned model's training."""
        trainings = {trainer: self.game.tuning(trainer)["train"] for trainer in TRAINERS}
        trainings["pruning"] = self.game.pruned_training["train"]
        return {name: train["steps"] * train["batch_size"] for name, train in trainings.items()}

    @property
    def compared(self) -> dict[str, list[str]]:
        """The features of each model of the table of models: of everybody's member by each trainer."""
        pruned = [PRUNED] if "sparsified" in self.game.all_trainers else []
        anchors = {anchor: [self.anchor("features", anchor)] for anchor in (FULL, *pruned)}
        return anchors | {
            trainer: [self.game.members("features", trainer, "exact", name) for name in self.game.ranges("exact")]
            for trainer in self.game.trainers("exact")
        }

    @property
    def distance(self) -> str:
        """What the table of models calls its distance, as tables of behaviours do."""
        return f"frechet_{self.encoder['kind']}"

    @property
    def compared_steps(self) -> list[list[Any]]:
        """Each of these models with the steps of its training."""
        trained = self.game.model.settings["train"]["steps"]
        steps = {FULL: trained, PRUNED: self.game.settings["pruning"]["steps"], **self.trained_steps}
        return [[name, steps[name]] for name in self.compared]

    @property
    def tables(self) -> list[str]:
        """The names of the tables on members."""
        curve = ["curve_members"] if self.game.blocks("curve") else []
        # Without a behaviour on features nobody asked for images.
        models = ["models"] if any(self.reads(name) == "features" for name in self.behaviours) else []
        return ["members", "noise", "cost", *models, *curve]
