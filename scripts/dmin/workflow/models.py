"""Bases and models of the config, with their files."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..catalogue.families import FAMILIES, FamilyEntry
from ..runtime.attributed import count_parts
from ..settings.models import Base as BaseSettings
from ..settings.models import Model as ModelSettings
from .datasets import Dataset
from .files import adapter_paths, weight_files
from .values import leave_out, pick


@dataclass(frozen=True)
class Base:
    """A pretrained pipeline that models are fine-tuned from."""

    name: str
    settings: BaseSettings

    @property
    def family(self) -> FamilyEntry:
        """What its family can do."""
        return FAMILIES[self.settings["family"]]

    @property
    def files(self) -> list[str]:
        """Its files; none for one on the hub."""
        return [*weight_files(self.settings["path"]), *(weight_files(config) if (config := self.config) else [])]

    @property
    def config(self) -> str | None:
        """The pipeline that a base in one file takes its configs from; None for a whole one."""
        return self.settings["config"]


@dataclass(frozen=True)
class Model:
    """A base fine-tuned on a data set, here or by the user."""

    name: str
    settings: ModelSettings
    dataset: Dataset
    base: Base

    @property
    def folder(self) -> str:
        """The folder of all its files."""
        return f"<results>/models/{self.name}"

    @property
    def samples(self) -> str:
        """The encoded training samples: the base's, or the model's where an adapter changes text encoders."""
        return f"{self._encoded}/train.safetensors"

    @property
    def test_samples(self) -> str:
        """The encoded test samples, which an audit reads, and scores that are ranked among theirs; as ``samples``."""
        return f"{self._encoded}/test.safetensors"

    @property
    def _encoded(self) -> str:
        if self.text_weights:
            return f"{self.folder}/encoded"
        return f"<results>/encoded/{self.dataset.name}/{self.base.name}"

    @property
    def weights(self) -> str:
        """The trained weights: an adapter file, or a pipeline folder."""
        file = "pipeline" if self.settings["finetune"] == "full" else "pytorch_lora_weights.safetensors"
        return f"{self.folder}/{file}"

    @property
    def own_adapter(self) -> str | None:
        """Where a user's own adapter is; None for other models."""
        own = self.settings["weights"]
        return own["path"] if own and self.settings["finetune"] == "adapter" else None

    @cached_property
    def own_values(self) -> tuple[int, int] | None:
        """How many values that adapter has in the denoiser and in text encoders; None where it is not on disk."""
        return None if self.own_adapter is None else count_parts(self.own_adapter)

    @property
    def text_values(self) -> int | None:
        """How many of these text encoders have, 0 for other models; None where that is not known."""
        if self.own_adapter is None:
            return 0
        return None if self.own_values is None else self.own_values[1]

    @property
    def text_weights(self) -> list[str]:
        """The weights, where they are an adapter of a user's that changes text encoders, or may; none elsewhere."""
        return [] if self.text_values == 0 else [self.weights]

    @property
    def description(self) -> str:
        """What they were made from."""
        return f"{self.folder}/model.json"

    @property
    def checkpoints(self) -> str:
        """The folder of the checkpoints."""
        return f"{self.folder}/checkpoints"

    @property
    def training_log(self) -> str:
        """What every step of the training saw."""
        return f"{self.folder}/training_log.parquet"

    @property
    def training_curve(self) -> str:
        """The loss of the training."""
        return f"{self.folder}/training.csv"

    @property
    def checkpoint_steps(self) -> list[int]:
        """The steps whose checkpoints are kept."""
        return sorted(self.settings["train"]["checkpoints"])

    @property
    def training(self) -> dict[str, Any]:
        """What the training depends on, beside base and samples."""
        unused = ("lora", "weights") if self.settings["finetune"] == "full" else ("weights",)
        return leave_out(self.settings, *unused)

    @property
    def retraining(self) -> dict[str, Any]:
        """What a retraining depends on, beside base and samples: checkpoints are kept of none, and each has its seed.

        So neither another checkpoint nor another seed of the model touches its banks.
        """
        return {**self.training, "train": {**self.settings["train"], "checkpoints": [], "seed": 0}}

    @property
    def described_training(self) -> dict[str, Any]:
        """The part of it that the model's description records."""
        return pick(self.training, *({"finetune", "train", "lora"} & self.training.keys()))

    @property
    def own_paths(self) -> list[str]:
        """Where the user's own weights and their settings are; none for a model that is trained here."""
        own = self.settings["weights"]
        if not own:
            return []
        return [own["path"]] if self.settings["finetune"] == "full" else adapter_paths(own["path"])

    @property
    def own_files(self) -> list[str]:
        """Their files; none for those on the hub."""
        return [file for path in self.own_paths for file in weight_files(path)]
