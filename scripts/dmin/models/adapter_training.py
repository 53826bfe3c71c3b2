"""Fine-tune a LoRA adapter on encoded samples."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from dmin.data.atomic import atomic_path, write_csv, write_json, write_parquet
from dmin.digests import base_digest, config_digest, file_digest
from dmin.models.device import resolve_device
from dmin.models.encoded import EncodedSamples
from dmin.models.family import load_family
from dmin.models.fit import cosine_rate, fit
from dmin.models.training_batch import draw_batch, training_log
from dmin.models.training_state import TrainingState
from dmin.seeds import derive_seed

log = logging.getLogger(__name__)

LOG_EVERY = 50


def train_adapter(
    samples: Path,
    base: Mapping[str, Any],
    model: Mapping[str, Any],
    adapter: Path,
    description: Path,
    curve: Path,
    device: str,
    save_every: int,
    checkpoints: Path,
    log_file: Path,
) -> None:
    """Train the adapter of ``model`` on ``samples`` and write its weights, a description and the loss curve.

    The loss is the family's training objective with timesteps drawn uniformly; batches run through seeded
    permutations of the samples, so every sample is seen equally often. A killed run resumes from its last state.

    ``settings["checkpoints"]`` lists updates after which the adapter is kept in the folder ``checkpoints``, as
    ``{step}/`` with the adapter's file, and ``checkpoints.json`` with the learning rate of each. ``log_file`` names
    what every row of training saw: see :func:`training_log`.
    """
    settings, where = model["train"], resolve_device(device)
    encoded = EncodedSamples.load(samples)
    family = load_family(base, where, ["denoiser"])
    torch.manual_seed(derive_seed(settings["seed"], "adapter"))
    family.add_adapter(model["lora"])
    trained = {name: value for name, value in family.denoiser.named_parameters() if value.requires_grad}
    parameters = sum(value.numel() for value in trained.values())
    count, size = len(encoded.ids), settings["batch_size"]
    log.info("training %d adapter parameters on %d samples, %d per step, on %s", parameters, count, size, where)

    def loss_at(step: int) -> torch.Tensor:
        batch = draw_batch(count, encoded.latents.shape[1:], settings, step)
        index = batch.index
        conditioning = {}
        for name, value in encoded.conditioning.items():
            rows = value[index].clone()
            rows[batch.dropped] = encoded.unconditional[name]
            conditioning[name] = rows.to(where)
        latents = encoded.latents[index].to(where)
        return family.objective(latents, batch.noise.to(where), batch.timesteps.to(where), conditioning).mean()

    key = config_digest(model["train"], model["lora"], base_digest(base), file_digest(samples))
    state = TrainingState(adapter.parent / ".resume", key)
    loop = {**settings, "log_every": LOG_EVERY, "save_every": save_every}
    # Kept in the sidecar until the end, because a workflow removes the outputs of a killed job before it resumes.
    kept = adapter.parent / ".resume" / f"{key}-checkpoints"

    def keep_checkpoint(step: int) -> None:
        if step + 1 in settings["checkpoints"]:
            family.save_adapter(kept / str(step + 1))

    rows = fit("adapter", list(trained.values()), loss_at, loop, state, trained, keep_checkpoint)
    # diffusers writes a folder; inside the sidecar, a kill leaves nothing beside the results.
    folder = adapter.parent / ".resume" / f"{key}-adapter"
    family.save_adapter(folder)
    with atomic_path(adapter) as temporary:
        (folder / adapter.name).replace(temporary)
    folder.rmdir()
    write_csv(pd.DataFrame(rows), curve)
    publish_checkpoints(kept, checkpoints, settings, adapter.name)
    write_parquet(training_log(encoded.ids, encoded.latents.shape[1:], settings), log_file)
    facts = {"parameters": parameters, "adapter": file_digest(adapter), "lora": model["lora"], "train": settings}
    facts |= {"base": base, "base_digest": base_digest(base), "samples": file_digest(samples)}
    write_json(facts, description)
    state.discard()


def publish_checkpoints(kept: Path, folder: Path, settings: Mapping[str, Any], file: str) -> None:
    """Move the checkpoints ``kept`` to ``folder``, with their facts in ``checkpoints.json``."""
    kept.mkdir(parents=True, exist_ok=True)
    facts = [
        {
            "step": step,
            "learning_rate": cosine_rate(
                settings["learning_rate"], step - 1, settings["steps"], settings["warmup_steps"]
            ),
            "adapter": file_digest(kept / str(step) / file),
        }
        for step in sorted(settings["checkpoints"])
    ]
    write_json(facts, kept / "checkpoints.json")
    if folder.exists():
        shutil.rmtree(folder)
    kept.replace(folder)
