"""What one training step draws: samples, noises, timesteps and dropped prompts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from dmin.models.encoded import EncodedSamples
from dmin.runtime.seeds import derive_generator, derive_seed
from dmin.settings.models import Train

DrawTimesteps = Callable[[int, torch.Generator], torch.Tensor]


@dataclass(frozen=True)
class Pool:
    """What the steps of a training draw from.

    Attributes:
        entries: the places of the samples, each as often as an epoch sees it, ``[E]``.
        shapes: of their latents, ``(c, h, w)``.
        kinds: which of ``shapes`` each entry has, ``[E]``.
    """

    entries: torch.Tensor
    shapes: Sequence[Sequence[int]]
    kinds: torch.Tensor

    @classmethod
    def of(cls, samples: EncodedSamples) -> Pool:
        """Return the pool of all of some samples."""
        entries = samples.entries
        return cls(entries, samples.shapes, samples.kinds[entries])

    @classmethod
    def of_one_shape(cls, entries: torch.Tensor, shape: Sequence[int]) -> Pool:
        """Return the pool of entries whose latents have one ``shape``."""
        return cls(entries, [shape], torch.zeros(len(entries), dtype=torch.long))

    def draw(self, step: int, size: int, seed: int) -> tuple[torch.Tensor, Sequence[int]]:
        """Return the places ``[size]`` of the samples of a step, all of one shape, and that shape.

        Of samples of one shape, steps are consecutive pieces of a permutation per epoch. Of several, each shape has
        such pieces of its own and is taken in as many steps as it has entries, in every E steps, in an order drawn from
        the seed: so every entry is seen as often as every other.
        """
        count = len(self.entries)
        if len(self.shapes) == 1:
            return self.entries[batch_indices(count, size, step, seed)], self.shapes[0]
        cycle, place = divmod(step, count)
        turns = self.kinds[torch.randperm(count, generator=derive_generator(seed, "shapes", cycle))]
        kind = int(turns[place])
        own = self.entries[self.kinds == kind]
        turn = cycle * len(own) + int((turns[:place] == kind).sum())
        return own[batch_indices(len(own), size, turn, derive_seed(seed, "shape", kind))], self.shapes[kind]


@dataclass(frozen=True)
class TrainingBatch:
    """One step's rows: ``index [b]`` into the samples, ``noise [b, c, h, w]``, ``timesteps [b]``, ``dropped [b]``.

    ``flipped [b]`` are mirrored left to right.
    """

    index: torch.Tensor
    noise: torch.Tensor
    timesteps: torch.Tensor
    dropped: torch.Tensor
    flipped: torch.Tensor


@dataclass(frozen=True)
class BatchRows:
    """Rows of a batch: ``latents`` and ``noise`` ``[b, c, h, w]``, ``timesteps [b]``, conditioning ``[b, ...]``."""

    latents: torch.Tensor
    noise: torch.Tensor
    timesteps: torch.Tensor
    conditioning: Mapping[str, torch.Tensor]


def draw_batch(pool: Pool, settings: Train, step: int, draw_timesteps: DrawTimesteps) -> TrainingBatch:
    """Draw step ``step`` (from 0) of a training on the samples of ``pool``, from its seed alone; all have one shape.

    Args:
        draw_timesteps: that of the family's target.
    """
    size, seed = settings["batch_size"], settings["seed"]
    generator = derive_generator(seed, "train", step)
    index, shape = pool.draw(step, size, seed)
    noise = torch.randn((size, *shape), generator=generator)
    timesteps = draw_timesteps(size, generator)
    dropped = torch.rand(size, generator=generator) < settings["prompt_dropout"]
    flipped = torch.rand(size, generator=generator) < (0.5 if settings.get("flip") else 0.0)
    return TrainingBatch(index, noise, timesteps, dropped, flipped)


def batch_rows(samples: EncodedSamples, batch: TrainingBatch, rows: torch.Tensor | slice) -> BatchRows:
    """Return what the denoiser is trained on in the ``rows`` of a batch, dropped prompts and mirrored latents done."""
    conditioning = {}
    for name, value in samples.conditioning.items():
        conditioning[name] = value[batch.index[rows]].clone()
        conditioning[name][batch.dropped[rows]] = samples.unconditional[name]
    latents = flip_rows(samples.latents_at(batch.index[rows]), batch.flipped[rows])
    return BatchRows(latents, batch.noise[rows], batch.timesteps[rows], conditioning)


def flip_rows(latents: torch.Tensor, flipped: torch.Tensor) -> torch.Tensor:
    """Return ``latents [b, c, h, w]`` with the rows that are ``flipped [b]`` mirrored left to right."""
    return torch.where(flipped.to(latents.device)[:, None, None, None], latents.flip(-1), latents)


def batch_indices(count: int, size: int, step: int, seed: int) -> torch.Tensor:
    """Return the places ``[size]`` of a step among ``count`` entries: consecutive pieces of a permutation per epoch."""
    positions = torch.arange(step * size, (step + 1) * size)
    orders = {
        epoch: torch.randperm(count, generator=derive_generator(seed, "epoch", epoch))
        for epoch in range(int(positions[0]) // count, int(positions[-1]) // count + 1)
    }
    epochs, places = positions // count, positions % count
    return torch.cat([order[places[epochs == epoch]] for epoch, order in orders.items()])


def training_log(ids: Sequence[str], pool: Pool, settings: Train, draw_timesteps: DrawTimesteps) -> pd.DataFrame:
    """Return every row that training sees, in order.

    Columns: ``step`` (from 1: the update that the row takes part in), ``row`` in its batch, ``sample_id``,
    ``timestep``, ``dropped`` (trained with the empty prompt), ``flipped``, ``noise_seed`` and ``batch_size``. The row's
    noise is row ``row`` of the standard normal ``[batch_size, *shape]``, of the shape of its sample, that a CPU
    generator seeded by ``noise_seed`` draws first.
    """
    size, steps = settings["batch_size"], settings["steps"]
    drawn: dict[str, list[torch.Tensor]] = {"index": [], "timestep": [], "dropped": [], "flipped": []}
    for step in range(steps):
        batch = draw_batch(pool, settings, step, draw_timesteps)
        for name, part in zip(drawn, (batch.index, batch.timesteps, batch.dropped, batch.flipped), strict=True):
            drawn[name].append(part)
    columns = {name: torch.cat(parts).numpy() for name, parts in drawn.items()}
    return pd.DataFrame(
        {
            "step": np.repeat(np.arange(1, steps + 1), size),
            "row": np.tile(np.arange(size), steps),
            "sample_id": [ids[place] for place in columns.pop("index")],
            **columns,
            "noise_seed": np.repeat([derive_seed(settings["seed"], "train", step) for step in range(steps)], size),
            "batch_size": size,
        }
    )


def logged_noise(row: Mapping[str, Any], shape: Sequence[int]) -> torch.Tensor:
    """Draw the noise ``[c, h, w]`` of one row of the training log again."""
    generator = torch.Generator("cpu").manual_seed(int(row["noise_seed"]))
    return torch.randn((int(row["batch_size"]), *shape), generator=generator)[int(row["row"])]
