"""Weights kept on the way of a training."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dmin.models.adapter_file import ADAPTER_FILE
from dmin.models.training.schedule import cosine_rate
from dmin.runtime.atomic import write_json
from dmin.runtime.digests import describe_weights
from dmin.runtime.readers import load_json
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

    The file lists, as ``checkpoints``, ``step``, ``learning_rate`` (of that step's update) and digests of the weights.
    """
    kept.mkdir(parents=True, exist_ok=True)
    facts = [
        {
            "step": step,
            "learning_rate": cosine_rate(settings, step - 1),
            **describe_weights(checkpoint_weights(kept, step, full)),
        }
        for step in sorted(settings["checkpoints"])
    ]
    write_json({"checkpoints": facts}, kept / "checkpoints.json")
    if folder.exists():
        shutil.rmtree(folder)
    kept.replace(folder)


def read_checkpoints(folder: Path) -> list[dict[str, Any]]:
    """Return the facts of the checkpoints in a folder, as :func:`publish_checkpoints` wrote them.

    Raises:
        UserError: their file is missing or torn.
    """
    facts, _ = load_json(folder / "checkpoints.json")
    # A bare list is what was written before the file had a checksum.
    return list(facts["checkpoints"] if isinstance(facts, dict) else facts)
