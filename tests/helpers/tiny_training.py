"""Trainings of a few steps: an adapter of the tiny pipeline, and models trained again on parts of their data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from tiny_families import SIZE, build_ddpm
from tiny_pipeline import LORA

from dmin.models.encoded import EncodedSamples
from dmin.models.training.pace import TrainingPace
from dmin.models.training.task import Recipe, TrainingFiles, TrainingTask
from dmin.models.training.train_model import train_model
from dmin.retraining.members import RetrainedModels, Retrainings
from dmin.runtime.deadline import StopRequest

ADAPTER: dict[str, Any] = {
    "finetune": "adapter",
    "lora": LORA,
    "train": {
        "seed": 1,
        "steps": 7,
        "batch_size": 4,
        "learning_rate": 0.01,
        "weight_decay": 0.0,
        "warmup_steps": 2,
        "prompt_dropout": 0.3,
        "checkpoints": [3, 5],
        "accumulation": 1,
        "checkpointing": False,
        "precision": "float32",
        "ema": None,
    },
}
BANK = {"seeds": 2, "seed": 5, "exclude": []}
TRAIN = {
    "steps": 8, "batch_size": 4, "learning_rate": 1e-2, "weight_decay": 0.0, "warmup_steps": 0, "prompt_dropout": 0.0,
    "accumulation": 1, "checkpointing": False, "precision": "float32", "ema": None, "seed": 1, "checkpoints": [4],
}  # fmt: skip
FULL: dict[str, Any] = {"finetune": "full", "train": TRAIN}


class Late(StopRequest):
    """Asks for the end after some steps."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.left = steps

    def due(self) -> str | None:
        self.left -= 1
        return "it is late" if self.left < 0 else None


def train_adapter(
    base: Mapping[str, Any],
    samples: Path,
    folder: Path,
    model: Mapping[str, Any] = ADAPTER,
    start: Path | None = None,
) -> tuple[bytes, bytes]:
    """Train an adapter of the tiny pipeline into a folder, from the file ``start``; return the bytes of its weights and
    of its curve.
    """
    adapter, curve = folder / "pytorch_lora_weights.safetensors", folder / "training.csv"
    files = TrainingFiles(
        adapter, folder / "model.json", curve, folder / "checkpoints", folder / "training_log.parquet"
    )
    train_model(TrainingTask(samples, Recipe(base, model, start), files), TrainingPace("cpu", 2))
    return adapter.read_bytes(), curve.read_bytes()


def retraining_job(folder: Path) -> dict[str, Any]:
    """Return the arguments of a job that trains a tiny base on two sets of four samples, twice each."""
    base = build_ddpm(folder / "base", channels=1)
    latents = torch.randn((8, 1, SIZE, SIZE), generator=torch.Generator().manual_seed(0))
    EncodedSamples([f"s{row}" for row in range(8)], latents, {}, {}).save(folder / "train.safetensors")
    sets = [(0, f"s{row}") for row in range(4)] + [(1, f"s{row}") for row in range(4, 8)]
    pd.DataFrame(sets, columns=["set", "id"]).to_parquet(folder / "sets.parquet")
    return {
        "samples": folder / "train.safetensors",
        "sets": folder / "sets.parquet",
        "recipe": Recipe(base, FULL),
        "retrainings": Retrainings(BANK, 0, 4),
        "out": folder / "bank" / "models",
        "pace": TrainingPace("cpu", 2),
    }


def retrained(job: Mapping[str, Any]) -> RetrainedModels:
    """Return the models that such a job trains."""
    return RetrainedModels(job["out"], job["recipe"].base, "full", job["retrainings"])
