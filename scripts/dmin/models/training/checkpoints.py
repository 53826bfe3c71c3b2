"""Weights kept on the way of a training."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from dmin.models.adapter_file import ADAPTER_FILE
from dmin.models.training.schedule import cosine_rate
from dmin.runtime.atomic import write_json
from dmin.runtime.digests import weights_digest
from dmin.settings.models import Train


def checkpoint_weights(folder: Path, step: int, full: bool | None = None) -> Path:
    """Return the weights that a folder of checkpoints holds after ``step`` updates.

    An adapter is the file ``{step}/pytorch_lora_weights.safetensors``, a model trained in full the pipeline folder
    ``{step}``; ``full`` None looks which of the two there is.
    """
    adapter = folder / str(step) / ADAPTER_FILE
    whole = full if full is not None else not adapter.exists()
    return adapter.parent if whole else adapter


def holds_checkpoints(kept: Path, steps: Sequence[int], done: int, full: bool) -> bool:
    """Say whether ``kept`` holds the weights of all checkpoints up to ``done`` updates.

    A training that was killed after it published them has a state and no checkpoints.
    """
    return all(checkpoint_weights(kept, step, full).exists() for step in steps if step <= done)


def publish_checkpoints(kept: Path, folder: Path, settings: Train, full: bool) -> None:
    """Move the checkpoints ``kept`` to ``folder``, with their facts in ``checkpoints.json``.

    The file lists ``step``, ``learning_rate`` (of that step's update) and ``weights`` (a digest) by step.
    """
    kept.mkdir(parents=True, exist_ok=True)
    facts = [
        {
            "step": step,
            "learning_rate": cosine_rate(settings, step - 1),
            "weights": weights_digest(checkpoint_weights(kept, step, full)),
        }
        for step in sorted(settings["checkpoints"])
    ]
    write_json(facts, kept / "checkpoints.json")
    if folder.exists():
        shutil.rmtree(folder)
    kept.replace(folder)
