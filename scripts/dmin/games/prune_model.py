"""Prune a trained model, and train what is left on all its data again."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from torch.utils.flop_counter import FlopCounterMode

from dmin.games.pruning import prune_channels, prune_ranks
from dmin.models.encoded import EncodedSamples
from dmin.models.families.family import Family
from dmin.models.load import TrainedModel, load_family, load_trained
from dmin.models.training.pace import TrainingPace
from dmin.models.training.task import Recipe, TrainingFiles, TrainingTask
from dmin.models.training.train_model import train_model, write_weights
from dmin.retraining.members import weights_name
from dmin.runtime.atomic import write_json
from dmin.runtime.device import resolve_device
from dmin.runtime.digests import config_digest, file_digest, weights_digest
from dmin.runtime.meter import Meter
from dmin.runtime.provenance import made_by
from dmin.runtime.sidecar import discard_others
from dmin.runtime.temporaries import remove_if_empty

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PrunedFiles:
    """The files of a pruned model.

    Attributes:
        weights: the adapter file, or the pipeline folder, whose network has its shapes beside its weights.
        description: what they were made from, JSON.
        curve: the loss of the training after pruning, CSV.
        record: what was pruned, JSON: ``ratio``, the trained ``parameters`` and the ``macs`` of one row, each
            ``before`` and ``after``, and the version of the library.
        metrics: what it cost, JSON.
    """

    weights: Path
    description: Path
    curve: Path
    record: Path
    metrics: Path


def prune_model(
    samples: Path, weights: Path, recipe: Recipe, ratio: float, files: PrunedFiles, pace: TrainingPace
) -> None:
    """Prune the trained ``weights`` and train what is left on all ``samples``.

    A full model loses channels (:func:`prune_channels`), an adapter ranks (:func:`prune_ranks`). A killed job resumes
    from its last state.

    Args:
        recipe: the base, and how the pruned model is trained; the rank of an adapter is that after pruning.

    Raises:
        UserError: the ratio leaves nothing of a layer, or as :func:`train_model`.
    """
    encoded, model = EncodedSamples.load(samples, 0, 1), TrainedModel(recipe.base, weights)
    made_from = [weights_digest(weights), *recipe.made_from().values(), file_digest(samples)]
    key = config_digest(recipe.settings(), ratio, *made_from, made_by(pace.code))
    start = files.weights.parent / ".resume" / f"pruned-{key}" / weights_name(recipe.model["finetune"])
    before = load_trained(model, resolve_device(pace.device), ["denoiser"])
    counts = [_counts(before, encoded, recipe)]
    after = _pruned(before, encoded, recipe, ratio)
    counts.append(_counts(after, encoded, recipe))
    if not start.exists():
        start.parent.mkdir(parents=True, exist_ok=True)
        write_weights(after, start, start.parent / "written", recipe.full)
    rest = start.parent / "rest"
    rest.mkdir(exist_ok=True)
    made = TrainingFiles(
        files.weights, files.description, files.curve, rest / "checkpoints", rest / "training_log.parquet"
    )
    with Meter() as meter:
        train_model(TrainingTask(samples, replace(recipe, start=start), made), pace)
    record: dict[str, Any] = {"ratio": ratio, "pruned": "channels" if recipe.full else "ranks"}
    record["versions"] = {"torch-pruning": version("torch-pruning")}
    for name in ("parameters", "macs"):
        record[name] = {when: count[name] for when, count in zip(("before", "after"), counts, strict=True)}
    write_json(record, files.record)
    meter.write(files.metrics, steps=recipe.model["train"]["steps"])
    discard_others(start.parent.parent, "pruned-", key)
    shutil.rmtree(start.parent)
    remove_if_empty(start.parent.parent)
    log.info("%d of %d parameters left", record["parameters"]["after"], record["parameters"]["before"])


def _pruned(family: Family, encoded: EncodedSamples, recipe: Recipe, ratio: float) -> Family:
    """Return a trained model after pruning: the same one, or for an adapter one of a smaller rank."""
    if recipe.full:
        inputs = encoded.latents.to(family.device), torch.ones(1, dtype=torch.long, device=family.device)
        prune_channels(family.denoiser, inputs, ratio)
        return family
    left = prune_ranks(get_peft_model_state_dict(family.denoiser), ratio)
    smaller = load_family(recipe.base, family.device, ["denoiser"])
    smaller.add_adapter(recipe.model["lora"])
    set_peft_model_state_dict(smaller.denoiser, left)
    return smaller


@torch.no_grad()
def _counts(family: Family, encoded: EncodedSamples, recipe: Recipe) -> dict[str, int]:
    """Return the parameters of what is trained, and the multiplications of the denoiser on one row."""
    trained = [value.numel() for name, value in family.denoiser.named_parameters() if recipe.full or ".lora_" in name]
    conditioning = {name: value.to(family.device) for name, value in encoded.conditioning.items()}
    with FlopCounterMode(display=False) as counter:
        family.denoise(encoded.latents.to(family.device), torch.ones(1, device=family.device), conditioning)
    return {"parameters": sum(trained), "macs": counter.get_total_flops() // 2}
