"""Train a model on encoded samples: a LoRA adapter, or every parameter of the denoiser."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from dmin.models.encoded import EncodedSamples
from dmin.models.families.family import Family
from dmin.models.load import load_family
from dmin.models.training.batch import Pool, batch_rows, draw_batch, training_log
from dmin.models.training.checkpoints import checkpoint_weights, holds_checkpoints, publish_checkpoints
from dmin.models.training.fit import Minimisation, fit
from dmin.models.training.pace import TrainingPace
from dmin.models.training.processes import ALONE, Processes
from dmin.models.training.state import TrainingState
from dmin.models.training.task import Recipe, TrainingTask
from dmin.models.training.weight_average import WeightAverage
from dmin.runtime.atomic import atomic_path, write_csv, write_json, write_parquet
from dmin.runtime.attributed import is_adapted
from dmin.runtime.device import resolve_device
from dmin.runtime.digests import config_digest, describe_weights, file_digest
from dmin.runtime.precision import autocast
from dmin.runtime.provenance import made_by, versions
from dmin.runtime.seeds import derive_seed
from dmin.runtime.sidecar import discard_others, only_writer
from dmin.settings.models import Train

log = logging.getLogger(__name__)

LOG_EVERY = 50


def train_model(task: TrainingTask, pace: TrainingPace) -> None:
    """Train a model and write its weights, a description and the loss curve.

    ``finetune: adapter`` trains a LoRA adapter and writes its file; ``full`` trains every parameter of the denoiser,
    from random ones where the base is a DDPM without any, and writes a pipeline folder. The loss is the family's
    training objective; batches run through seeded permutations of the samples, so every sample is seen equally often.
    With ``ema`` the written weights are the moving average, and the description says so. A killed run resumes from its
    last state.

    ``train["checkpoints"]`` lists updates after which the weights, not their average, are kept: see
    :func:`publish_checkpoints`. The training log names what every row of training saw: see :func:`training_log`.

    Raises:
        UserError: the base has no weights to adapt, the adapter does not fit the family, another process
            trains this model, or the end was asked for.
    """
    resume = task.files.weights.parent / ".resume"
    with only_writer(resume, "training") if pace.processes.main else nullcontext():
        _train(task, pace, resume)


def _train(task: TrainingTask, pace: TrainingPace, resume: Path) -> None:
    recipe, files, processes = task.recipe, task.files, pace.processes
    settings, full = recipe.model["train"], recipe.full
    encoded = EncodedSamples.load(task.samples)
    # A whole training may begin with random weights.
    parts = ["denoiser", "untrained"] if full else ["denoiser"]
    family = load_family(recipe.loaded, processes.device or resolve_device(pace.device), parts)
    family.require_latents(encoded.shapes[0])
    if full:
        family.require_parts()
    trained = prepare_parameters(family, recipe)
    parameters = sum(value.numel() for value in trained.values())
    count, size = len(encoded.ids), settings["batch_size"]
    log.info("training %d parameters on %d samples, %d per step, on %s", parameters, count, size, family.device)
    if settings["checkpointing"]:
        family.denoiser.enable_gradient_checkpointing()
    average = WeightAverage(trained, settings["ema"])
    made_from = [*recipe.made_from().values(), file_digest(task.samples)]
    key = config_digest(recipe.settings(), *made_from, made_by(pace.code))
    state = TrainingState(resume, key)
    # Kept in the sidecar until the end, because a workflow removes the outputs of a killed job before it resumes.
    kept, folder = (resume / f"{key}-{part}" for part in ("checkpoints", "weights"))
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

    problem = Minimisation(
        "model" if full else "adapter",
        list(trained.values()),
        lambda step: batch_losses(family, encoded, settings, step, processes),
        {**trained, **average.tensors},
        after_step,
        LOG_EVERY,
        settings.get("beta1", 0.9),
    )
    rows = fit(problem, settings, state, pace)
    if not processes.main:
        return
    average.apply()
    # diffusers writes folders; inside the sidecar, a kill leaves nothing beside the results.
    write_weights(family, files.weights, folder, full)
    write_csv(pd.DataFrame(rows), files.curve)
    publish_checkpoints(kept, files.checkpoints, settings, full)
    write_parquet(
        training_log(encoded.ids, Pool.of(encoded), settings, family.target.draw_timesteps), files.training_log
    )
    write_json(describe(task, parameters), files.description)
    discard_others(resume, "", key)
    state.discard()


def write_untrained(task: TrainingTask, device: str) -> None:
    """Write the weights that a training on no samples has: the base's, random ones where it has none.

    Nothing is kept of trained weights that training would go on with, but, for a base without weights, their shapes.
    """
    recipe, files = replace(task.recipe, start=None), task.files
    parts = ["denoiser", "untrained"] if recipe.full else ["denoiser"]
    family = load_family(recipe.base, resolve_device(device), parts)
    if family.untrained and task.recipe.start is not None:
        family = load_family(task.recipe.loaded, resolve_device(device), ["denoiser"])
        family.initialise_denoiser(derive_seed(recipe.model["train"]["seed"], "denoiser"))
    trained = prepare_parameters(family, recipe)
    write_weights(family, files.weights, files.weights.parent / ".untrained", recipe.full)
    facts = describe(task, sum(value.numel() for value in trained.values()))
    write_json({**facts, "written": "untrained"}, files.description)


def describe(task: TrainingTask, parameters: int) -> dict[str, Any]:
    """Return what the written weights were made from."""
    settings = task.recipe.settings()
    return {
        **settings,
        "parameters": parameters,
        **describe_weights(task.files.weights),
        "base": task.recipe.base,
        # The average begins at the weights that training starts from, whatever average those were.
        "written": "last step" if settings["train"]["ema"] is None else "moving average",
        "versions": versions(),
        **task.recipe.made_from(),
        "samples": file_digest(task.samples),
    }


def prepare_parameters(family: Family, recipe: Recipe) -> dict[str, torch.Tensor]:
    """Make what is trained the only parameters that require a gradient, and return them by name."""
    seed = recipe.model["train"]["seed"]
    if recipe.full:
        if family.untrained:
            log.info("the base has no denoiser weights; training starts from random ones")
            family.initialise_denoiser(derive_seed(seed, "denoiser"))
        family.denoiser.requires_grad_(True)
    else:
        if recipe.start is None:
            torch.manual_seed(derive_seed(seed, "adapter"))
            family.add_adapter(recipe.model["lora"])
        else:
            family.load_adapter(recipe.start.parent)
            for name, value in family.denoiser.named_parameters():
                value.requires_grad_(is_adapted(name))
    return {name: value for name, value in family.denoiser.named_parameters() if value.requires_grad}


def batch_losses(
    family: Family, encoded: EncodedSamples, settings: Train, step: int, processes: Processes = ALONE
) -> Iterator[torch.Tensor]:
    """Yield the loss of a step in ``accumulation`` pieces that add up, over all processes, to the mean over its batch.

    What is drawn depends on the seed and the step alone, so the pieces are those of the whole batch.
    """
    size, device = settings["batch_size"], family.device
    batch = draw_batch(Pool.of(encoded), settings, step, family.target.draw_timesteps)
    for rows_of_all in torch.arange(size).tensor_split(settings["accumulation"]):
        piece = processes.own_rows(rows_of_all)
        rows = batch_rows(encoded, batch, piece)
        conditioning = {name: value.to(device) for name, value in rows.conditioning.items()}
        latents = rows.latents.to(device)
        with autocast(settings["precision"], device):
            noise, timesteps = rows.noise.to(device), rows.timesteps.to(device)
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
