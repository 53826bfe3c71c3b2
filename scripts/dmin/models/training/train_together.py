"""Train several small models at once, which takes less time than one after another."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from dmin.models.encoded import EncodedSamples
from dmin.models.families.family import Family
from dmin.models.load import load_family
from dmin.models.training.batch import Pool, batch_rows, draw_batch
from dmin.models.training.fit import Minimisation, fit
from dmin.models.training.pace import TrainingPace
from dmin.models.training.stacked import can_stack, clip_each, interleave, stack_networks
from dmin.models.training.state import TrainingState
from dmin.models.training.task import Recipe, TrainingTask
from dmin.models.training.train_model import LOG_EVERY, batch_losses, describe, prepare_parameters, write_weights
from dmin.models.training.weight_average import WeightAverage
from dmin.runtime.atomic import write_json
from dmin.runtime.device import resolve_device
from dmin.runtime.digests import config_digest, file_digest
from dmin.runtime.errors import DivergedError
from dmin.runtime.provenance import made_by
from dmin.settings.models import Train

log = logging.getLogger(__name__)

# Beyond as many floating-point operations of a step's forward pass, arithmetic takes most of the step.
MOST_OPERATIONS = 4e9


class DivergedTogetherError(DivergedError):
    """One of several models that are trained together has a loss that is not finite: that at ``place``."""

    def __init__(self, place: int, message: str) -> None:
        super().__init__(message)
        self.place = place


def trains_together(recipe: Recipe, samples: EncodedSamples, device: str) -> bool:
    """Say whether models of a recipe are trained faster together: on a CPU, with short steps, and of layers that stack.

    Short is what a batch of ``samples`` asks of the arithmetic.
    """
    settings = recipe.model["train"]
    plain = settings["accumulation"] == 1 and settings["precision"] == "float32" and not settings["checkpointing"]
    if not (plain and len(samples.shapes) == 1 and resolve_device(device).type == "cpu"):
        return False
    family, _ = _start(recipe)
    if not can_stack(family.denoiser):
        return False
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        list(batch_losses(family, samples, settings, 0))
    return counter.get_total_flops() <= MOST_OPERATIONS


def train_together(tasks: Sequence[TrainingTask], pace: TrainingPace, resume: Path) -> None:
    """Train models of one recipe, each on its own samples and from its own seed; write their weights and descriptions.

    The weights are those that :func:`train_model` gives, up to rounding; curves, logs and checkpoints are not written.
    A killed run goes on from its last state in the folder ``resume``, which the caller removes, as the finished state
    is kept for a kill before all weights are used.

    Raises:
        DivergedTogetherError: the loss of a model is not finite.
        UserError: the end was asked for.
    """
    settings, full = tasks[0].recipe.model["train"], tasks[0].recipe.full
    members = [_Member(EncodedSamples.load(task.samples), task.recipe.model["train"]) for task in tasks]
    begun = {member.settings["seed"]: _start(task.recipe) for member, task in zip(members, tasks, strict=True)}
    starts = [begun[member.settings["seed"]][1] for member in members]
    family, _ = begun[settings["seed"]]
    family.require_latents(members[0].samples.shapes[0])
    if full:
        family.require_parts()
    network = family.denoiser
    stacked = stack_networks(network, starts)
    trained = {name: value for name, value in stacked.named_parameters() if value.requires_grad}
    count = sum(value.numel() for value in starts[0].values())
    log.info("training %d models of %d parameters together", len(tasks), count)
    average = WeightAverage(trained, settings["ema"])
    parts = [config_digest(task.recipe.settings(), file_digest(task.samples)) for task in tasks]
    key = config_digest(*parts, *tasks[0].recipe.made_from().values(), made_by(pace.code))
    family.denoiser = stacked
    problem = Minimisation(
        f"{len(tasks)} models together",
        list(trained.values()),
        lambda step: _losses(family, members, step),
        {**trained, **average.tensors},
        average.update,
        LOG_EVERY,
        settings.get("beta1", 0.9),
        clip_each,
        fused=True,
    )
    fit(problem, settings, TrainingState(resume, key), pace)
    average.apply()
    family.denoiser = network
    for place, task in enumerate(tasks):
        with torch.no_grad():
            for name, value in network.named_parameters():
                if name in trained:
                    value.copy_(trained[name][place])
        write_weights(family, task.files.weights, resume / "weights", full)
        write_json(describe(task, count), task.files.description)


@dataclass(frozen=True)
class _Member:
    samples: EncodedSamples
    settings: Train


def _start(recipe: Recipe) -> tuple[Family, Mapping[str, torch.Tensor]]:
    """Return the family of a recipe, made ready for its training, and the parameters that it begins with."""
    parts = ["denoiser", "untrained"] if recipe.full else ["denoiser"]
    family = load_family(recipe.loaded, torch.device("cpu"), parts)
    return family, prepare_parameters(family, recipe)


def _losses(family: Family, members: Sequence[_Member], step: int) -> Iterator[torch.Tensor]:
    """Yield the sum of the losses of all members, of which each has the gradient of its own."""
    drawn = []
    for member in members:
        batch = draw_batch(Pool.of(member.samples), member.settings, step, family.target.draw_timesteps)
        drawn.append(batch_rows(member.samples, batch, slice(None)))
    latents, noise, timesteps = (
        interleave([getattr(rows, part) for rows in drawn]) for part in ("latents", "noise", "timesteps")
    )
    conditioning = {
        name: interleave([rows.conditioning[name] for rows in drawn]) for name in members[0].samples.conditioning
    }
    losses = family.objective(latents, noise, timesteps, conditioning).unflatten(0, (-1, len(members))).mean(0)
    finite = losses.isfinite()
    if not finite.all():
        place = int((~finite).nonzero()[0])
        raise DivergedTogetherError(
            place,
            f"Training the model: the loss is {losses[place].item()} at step {step + 1}; lower learning_rate.",
        )
    yield losses.sum()
