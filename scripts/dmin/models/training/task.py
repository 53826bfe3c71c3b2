"""What a training reads and writes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

from dmin.runtime.digests import base_digest, weights_digest
from dmin.settings.models import Base, Lora, Train


class Tuning(TypedDict):
    """The section of a model, as far as its training depends on it; ``lora`` for an adapter alone."""

    finetune: Literal["adapter", "full"]
    train: Train
    lora: NotRequired[Lora]


@dataclass(frozen=True)
class Recipe:
    """What is trained, and how.

    Attributes:
        start: trained weights of the base that training goes on with, an adapter file or a pipeline folder; None starts
            from the base itself.
    """

    base: Base
    model: Tuning
    start: Path | None = None

    @property
    def full(self) -> bool:
        """Whether every parameter of the denoiser is trained, and not an adapter."""
        return self.model["finetune"] == "full"

    @property
    def loaded(self) -> Base:
        """The pipeline that is loaded: the base, or the whole model that training goes on with."""
        if self.start is None or not self.full:
            return self.base
        return {**self.base, "path": str(self.start), "revision": None}

    def made_from(self) -> dict[str, str]:
        """Return digests of what training starts from, by role."""
        start = {} if self.start is None else {"start": weights_digest(self.start)}
        return {"base_digest": base_digest(self.base), **start}

    def settings(self) -> dict[str, Any]:
        """Return the part of the model's section that its weights depend on."""
        adapter = {} if self.full else {"lora": self.model["lora"]}
        return {"finetune": self.model["finetune"], "train": self.model["train"], **adapter}


@dataclass(frozen=True)
class TrainingFiles:
    """The files that a training writes.

    Attributes:
        weights: the adapter file, or the pipeline folder of a full training.
        description: what the weights were made from, JSON.
        curve: the loss over the steps, CSV.
        checkpoints: the folder of :func:`publish_checkpoints`.
        training_log: the table of :func:`training_log`, parquet.
    """

    weights: Path
    description: Path
    curve: Path
    checkpoints: Path
    training_log: Path


@dataclass(frozen=True)
class TrainingTask:
    """A training: the encoded ``samples``, what is trained on them, and the ``files`` it writes."""

    samples: Path
    recipe: Recipe
    files: TrainingFiles

    def to_json(self) -> dict[str, Any]:
        """Return the task as values that JSON holds."""
        files = {name: str(path) for name, path in asdict(self.files).items()}
        start = None if self.recipe.start is None else str(self.recipe.start)
        recipe = {"base": self.recipe.base, "model": self.recipe.model, "start": start}
        return {"samples": str(self.samples), **recipe, "files": files}

    @classmethod
    def from_json(cls, given: dict[str, Any]) -> TrainingTask:
        """Return the task that :meth:`to_json` gave."""
        files = TrainingFiles(**{name: Path(path) for name, path in given["files"].items()})
        start = None if given["start"] is None else Path(given["start"])
        return cls(Path(given["samples"]), Recipe(given["base"], given["model"], start), files)
