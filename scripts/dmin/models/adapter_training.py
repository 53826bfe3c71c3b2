"""Fine-tune a LoRA adapter on encoded samples."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from dmin.data.atomic import atomic_path, write_csv, write_json
from dmin.digests import base_digest, config_digest, file_digest
from dmin.models.device import resolve_device
from dmin.models.encoded import EncodedSamples
from dmin.models.family import load_family
from dmin.models.fit import fit
from dmin.models.training_state import TrainingState
from dmin.seeds import derive_generator, derive_seed

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
) -> None:
    """Train the adapter of ``model`` on ``samples`` and write its weights, a description and the loss curve.

    The loss is the family's training objective with timesteps drawn uniformly; batches run through seeded
    permutations of the samples, so every sample is seen equally often. A killed run resumes from its last state.
    """
    settings, where = model["train"], resolve_device(device)
    encoded = EncodedSamples.load(samples)
    family = load_family(base, where, ["denoiser"])
    torch.manual_seed(derive_seed(settings["seed"], "adapter"))
    family.add_adapter(model["lora"])
    trained = {name: value for name, value in family.denoiser.named_parameters() if value.requires_grad}
    parameters = sum(value.numel() for value in trained.values())
    count, size, seed = len(encoded.ids), settings["batch_size"], settings["seed"]
    log.info("training %d adapter parameters on %d samples, %d per step, on %s", parameters, count, size, where)

    def loss_at(step: int) -> torch.Tensor:
        generator = derive_generator(seed, "train", step)
        index = batch_indices(count, size, step, seed)
        noise = torch.randn(encoded.latents[index].shape, generator=generator)
        timesteps = torch.randint(0, 1000, (size,), generator=generator)
        dropped = torch.rand(size, generator=generator) < settings["prompt_dropout"]
        conditioning = {}
        for name, value in encoded.conditioning.items():
            rows = value[index].clone()
            rows[dropped] = encoded.unconditional[name]
            conditioning[name] = rows.to(where)
        latents = encoded.latents[index].to(where)
        return family.objective(latents, noise.to(where), timesteps.to(where), conditioning).mean()

    key = config_digest(model["train"], model["lora"], base_digest(base), file_digest(samples))
    state = TrainingState(adapter.parent / ".resume", key)
    loop = {**settings, "log_every": LOG_EVERY, "save_every": save_every}
    rows = fit("adapter", list(trained.values()), loss_at, loop, state, trained)
    # diffusers writes a folder; inside the sidecar, a kill leaves nothing beside the results.
    folder = adapter.parent / ".resume" / f"{key}-adapter"
    family.save_adapter(folder)
    with atomic_path(adapter) as temporary:
        (folder / adapter.name).replace(temporary)
    folder.rmdir()
    write_csv(pd.DataFrame(rows), curve)
    facts = {"parameters": parameters, "adapter": file_digest(adapter), "lora": model["lora"], "train": settings}
    facts |= {"base": base, "base_digest": base_digest(base), "samples": file_digest(samples)}
    write_json(facts, description)
    state.discard()


def batch_indices(count: int, size: int, step: int, seed: int) -> torch.Tensor:
    """Return the sample indices ``[size]`` of a step: consecutive pieces of one seeded permutation per epoch."""
    positions = torch.arange(step * size, (step + 1) * size)
    orders = {
        epoch: torch.randperm(count, generator=derive_generator(seed, "epoch", epoch))
        for epoch in range(int(positions[0]) // count, int(positions[-1]) // count + 1)
    }
    return torch.stack([orders[int(position) // count][int(position) % count] for position in positions])
