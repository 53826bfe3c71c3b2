"""Train a model on encoded samples: a LoRA adapter, or every parameter of the denoiser."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from dmin.models.encoded import EncodedSamples
from dmin.models.families.family import Family
from dmin.models.load import load_family
from dmin.models.training.batch import draw_batch, training_log
from dmin.models.training.checkpoints import checkpoint_weights, holds_checkpoints, publish_checkpoints
from dmin.models.training.fit import fit
from dmin.models.training.processes import ALONE, Processes
from dmin.models.training.state import TrainingState
from dmin.models.training.weight_average import WeightAverage
from dmin.runtime.atomic import atomic_path, write_csv, write_json, write_parquet
from dmin.runtime.deadline import StopRequest
from dmin.runtime.device import resolve_device
from dmin.runtime.digests import base_digest, config_digest, file_digest, weights_digest
from dmin.runtime.errors import UserError
from dmin.runtime.precision import autocast
from dmin.runtime.provenance import versions
from dmin.runtime.seeds import derive_seed
from dmin.runtime.sidecar import only_writer

log = logging.getLogger(__name__)

LOG_EVERY = 50


def train_model(
    samples: Path,
    base: Mapping[str, Any],
    model: Mapping[str, Any],
    weights: Path,
    description: Path,
    curve: Path,
    device: str,
    save_every: int,
    checkpoints: Path,
    log_file: Path,
    request: StopRequest | None = None,
    processes: Processes = ALONE,
) -> None:
    """Train ``model`` on ``samples`` and write its weights, a description and the loss curve.

    ``finetune: adapter`` trains a LoRA adapter and writes its file; ``full`` trains every parameter of the denoiser,
    from random ones where the base has none, and writes a pipeline folder. The loss is the family's training objective;
    batches run through seeded permutations of the samples, so every sample is seen equally often. With ``ema`` the
    written weights are the moving average, and the description says so. A killed run resumes from its last state;
    ``request`` is asked before every step. Several ``processes`` share each step; the main one writes.

    ``train["checkpoints"]`` lists updates after which the weights, not their average, are kept in the folder
    ``checkpoints``: see :func:`publish_checkpoints`. ``log_file`` names what every row of training saw: see
    :func:`training_log`.

    Raises:
        UserError: the base has no denoiser weights for an adapter, the adapter does not fit the family, another process
            trains this model, or ``request`` asked for the end.
    """
    with only_writer(weights.parent / ".resume", "training") if processes.main else nullcontext():
        _train(
            samples,
            base,
            model,
            weights,
            description,
            curve,
            device,
            save_every,
            checkpoints,
            log_file,
            request,
            processes,
        )


def _train(
    samples: Path,
    base: Mapping[str, Any],
    model: Mapping[str, Any],
    weights: Path,
    description: Path,
    curve: Path,
    device: str,
    save_every: int,
    checkpoints: Path,
    log_file: Path,
    request: StopRequest | None,
    processes: Processes,
) -> None:
    settings, where, full = model["train"], processes.device or resolve_device(device), model["finetune"] == "full"
    encoded = EncodedSamples.load(samples)
    family = load_family(base, where, ["denoiser"])
    trained = prepare_parameters(family, model, full)
    parameters = sum(value.numel() for value in trained.values())
    count, size = len(encoded.ids), settings["batch_size"]
    log.info("training %d parameters on %d samples, %d per step, on %s", parameters, count, size, where)
    if settings["checkpointing"]:
        family.denoiser.enable_gradient_checkpointing()
    average = WeightAverage(trained, settings["ema"])
    recipe = {"finetune": model["finetune"], "train": settings} | ({} if full else {"lora": model["lora"]})
    key = config_digest(recipe, base_digest(base), file_digest(samples))
    state = TrainingState(weights.parent / ".resume", key)
    loop = {**settings, "log_every": LOG_EVERY, "save_every": save_every}
    # Kept in the sidecar until the end, because a workflow removes the outputs of a killed job before it resumes.
    kept, folder = (weights.parent / ".resume" / f"{key}-{part}" for part in ("checkpoints", "weights"))
    if not holds_checkpoints(kept, settings["checkpoints"], state.step(), full):
        log.info("starting afresh: checkpoints of the saved state are gone")
        processes.wait()
        if processes.main:
            state.discard()
    processes.wait()

    def after_step(step: int) -> None:
        average.update(step)
        if processes.main and step + 1 in settings["checkpoints"]:
            kept.mkdir(parents=True, exist_ok=True)
            write_weights(family, checkpoint_weights(kept, step + 1, full), folder, full)

    rows = fit(
        "model" if full else "adapter",
        list(trained.values()),
        lambda step: batch_losses(family, encoded, settings, step, where, processes),
        loop,
        state,
        {**trained, **average.tensors},
        after_step,
        request,
        processes,
    )
    if not processes.main:
        return
    average.apply()
    # diffusers writes folders; inside the sidecar, a kill leaves nothing beside the results.
    write_weights(family, weights, folder, full)
    write_csv(pd.DataFrame(rows), curve)
    publish_checkpoints(kept, checkpoints, settings, full)
    shape = encoded.latents.shape[1:]
    write_parquet(training_log(encoded.ids, shape, settings, family.draw_timesteps), log_file)
    facts = {**recipe, "parameters": parameters, "weights": weights_digest(weights), "base": base}
    facts |= {"written": "last step" if settings["ema"] is None else "moving average"}
    facts |= {"versions": versions()}
    facts |= {"base_digest": base_digest(base), "samples": file_digest(samples)}
    write_json(facts, description)
    state.discard()


def prepare_parameters(family: Family, model: Mapping[str, Any], full: bool) -> dict[str, torch.Tensor]:
    """Make what is trained the only parameters that require a gradient, and return them by name."""
    seed = model["train"]["seed"]
    if full:
        if family.untrained:
            log.info("the base has no denoiser weights; training starts from random ones")
            family.initialise_denoiser(derive_seed(seed, "denoiser"))
        family.denoiser.requires_grad_(True)
    else:
        if family.untrained:
            raise UserError(f"Base '{family.base}' has no denoiser weights to adapt; add them or set finetune to full.")
        torch.manual_seed(derive_seed(seed, "adapter"))
        family.add_adapter(model["lora"])
    return {name: value for name, value in family.denoiser.named_parameters() if value.requires_grad}


def batch_losses(
    family: Family,
    encoded: EncodedSamples,
    settings: Mapping[str, Any],
    step: int,
    device: torch.device,
    processes: Processes = ALONE,
) -> Iterator[torch.Tensor]:
    """Yield the loss of a step in ``accumulation`` pieces that add up, over all processes, to the mean over its batch.

    What is drawn depends on the seed and the step alone, so the pieces are those of the whole batch.
    """
    size = settings["batch_size"]
    batch = draw_batch(len(encoded.ids), encoded.latents.shape[1:], settings, step, family.draw_timesteps)
    for rows_of_all in torch.arange(size).tensor_split(settings["accumulation"]):
        piece = processes.own_rows(rows_of_all)
        conditioning = {}
        for name, value in encoded.conditioning.items():
            rows = value[batch.index[piece]].clone()
            rows[batch.dropped[piece]] = encoded.unconditional[name]
            conditioning[name] = rows.to(device)
        latents = encoded.latents[batch.index[piece]].to(device)
        with autocast(settings["precision"], device):
            noise, timesteps = batch.noise[piece].to(device), batch.timesteps[piece].to(device)
            losses = family.objective(latents, noise, timesteps, conditioning)
        yield losses.sum() / size


def write_weights(family: Family, weights: Path, folder: Path, full: bool) -> None:
    """Write the adapter file or the pipeline folder ``weights``, by way of ``folder``."""
    if folder.exists():
        shutil.rmtree(folder)
    if full:
        family.save_pipeline(folder)
        if weights.exists():
            shutil.rmtree(weights)
        folder.replace(weights)
        return
    family.save_adapter(folder)
    with atomic_path(weights) as temporary:
        (folder / weights.name).replace(temporary)
    folder.rmdir()
