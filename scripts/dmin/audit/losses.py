"""The loss of every image of a data set, under its own caption and under those of images like it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
import pandas as pd
import torch

from dmin.audit.captions import choose_captions
from dmin.data.samples import read_samples
from dmin.games.feature_files import read_features
from dmin.gradients.timesteps import timestep_grid
from dmin.models.encoded import EncodedSamples
from dmin.models.families.family import Family
from dmin.models.load import TrainedModel, load_trained
from dmin.runtime.atomic import write_parquet
from dmin.runtime.device import resolve_device
from dmin.runtime.errors import UserError
from dmin.runtime.pace import Pace
from dmin.runtime.seeds import derive_generator
from dmin.settings.runs import Timesteps

log = logging.getLogger(__name__)


class LossSettings(TypedDict):
    """How losses are taken; see ``audit`` in the config."""

    timesteps: int
    draws: int
    captions: int
    seed: int


@dataclass(frozen=True)
class SplitFiles:
    """The table of a split, its encoded samples, and the features of its images."""

    table: Path
    encoded: Path
    features: Path


@dataclass(frozen=True)
class Evaluations:
    """What is evaluated, one entry for each: the place of the sample, that of the training image whose caption it has
    (-1 for its own), the timestep and the number of the noise."""

    sample: np.ndarray
    caption: np.ndarray
    timestep: np.ndarray
    draw: np.ndarray


def measure_sample_losses(
    model: TrainedModel, split: SplitFiles, train: SplitFiles, settings: LossSettings, out: Path, pace: Pace
) -> None:
    """Write the training loss of every sample; columns ``sample,caption_of,timestep,draw,loss``.

    ``caption_of`` is empty for the sample's own caption, which meets every noise; other captions meet the first of the
    timestep with the most noise, where a caption decides most. All samples meet the same noises, so that their losses
    can be compared.

    Args:
        split: the samples.
        train: the training set, whose captions are tried; the same files where it is what is measured.

    Raises:
        UserError: a file is torn, or a loss not finite (the sample is named).
    """
    encoded, known = EncodedSamples.load(split.encoded), EncodedSamples.load(train.encoded)
    captions = [[] for _ in encoded.ids] if not settings["captions"] else _captions(split, train, settings["captions"])
    middles = middle_timesteps(settings["timesteps"])
    grid: Timesteps = {"grid": "custom", "count": len(middles), "custom": middles}
    steps = timestep_grid(grid, model.base["family"])
    evaluations = _evaluations(captions, steps, settings["draws"])
    family = load_trained(model, resolve_device(pace.device), ["denoiser"])
    losses = evaluate(family, encoded, known, evaluations, settings["seed"], pace.batch)
    if not np.isfinite(losses).all():
        bad = int(np.flatnonzero(~np.isfinite(losses))[0])
        raise UserError(
            f"Sample '{encoded.ids[evaluations.sample[bad]]}' has a loss that is not finite at timestep "
            f"{evaluations.timestep[bad]}; mend or remove it."
        )
    names, others = np.asarray(encoded.ids, dtype=object), np.asarray([*known.ids, ""], dtype=object)
    table = {
        "sample": names[evaluations.sample],
        "caption_of": others[evaluations.caption],
        "timestep": evaluations.timestep,
        "draw": evaluations.draw,
        "loss": losses,
    }
    write_parquet(pd.DataFrame(table), out)
    log.info("%d losses of %d samples", len(losses), len(names))


def middle_timesteps(count: int) -> list[int]:
    """Return the middles of ``count`` equal parts of the 1,000 timesteps: neither end says much of an image."""
    return [1000 * (2 * part + 1) // (2 * count) for part in range(count)]


def _captions(split: SplitFiles, train: SplitFiles, count: int) -> list[list[int]]:
    own, known = (read_samples(files.table, ["prompt"])["prompt"].tolist() for files in (split, train))
    features, all_features = (read_features(files.features)["features"] for files in (split, train))
    return choose_captions((own, features), (known, all_features), count, same=split.table == train.table)


def _evaluations(captions: Sequence[Sequence[int]], steps: Sequence[int], draws: int) -> Evaluations:
    rows = [
        (sample, caption, step, draw)
        for sample, others in enumerate(captions)
        for caption in (-1, *others)
        for step in (steps if caption < 0 else [max(steps)])
        for draw in range(draws if caption < 0 else 1)
    ]
    return Evaluations(*np.asarray(rows, dtype=np.int64).T)


@torch.inference_mode()
def evaluate(
    family: Family,
    samples: EncodedSamples,
    known: EncodedSamples,
    evaluations: Evaluations,
    seed: int,
    batch: int,
) -> np.ndarray:
    """Return the training loss of each evaluation, float64 ``[n]``; ``known`` are the samples whose captions are."""
    pairs = sorted(set(zip(evaluations.timestep.tolist(), evaluations.draw.tolist(), strict=True)))
    noises = {
        shape: {pair: torch.randn(shape, generator=derive_generator(seed, "audit", *pair)) for pair in pairs}
        for shape in samples.shapes
    }
    values = []
    for part in samples.ranges(evaluations.sample.tolist(), batch):
        rows, places = torch.from_numpy(evaluations.sample[part]), torch.from_numpy(evaluations.caption[part])
        steps, draws = evaluations.timestep[part], evaluations.draw[part]
        latents = samples.latents_at(rows).to(family.device)
        noise = torch.stack(
            [noises[tuple(latents.shape[1:])][pair] for pair in zip(steps.tolist(), draws.tolist(), strict=True)]
        )
        conditioning = {}
        for name, value in samples.conditioning.items():
            taken = value[rows]
            taken[places >= 0] = known.conditioning[name][places[places >= 0]]
            conditioning[name] = taken.to(family.device)
        timesteps = torch.from_numpy(steps).to(family.device)
        values.append(family.objective(latents, noise.to(family.device), timesteps, conditioning).double().cpu())
    return torch.cat(values).numpy()
