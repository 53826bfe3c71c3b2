"""The loss of every query under every retrained model."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pandas as pd
import torch

from dmin.gradients.timesteps import timestep_grid
from dmin.models.encoded import EncodedSamples
from dmin.models.families.family import Family
from dmin.models.load import load_trained
from dmin.retraining.members import Member, RetrainedModels
from dmin.runtime.atomic import write_parquet
from dmin.runtime.device import resolve_device
from dmin.runtime.errors import UserError
from dmin.runtime.pace import Pace
from dmin.runtime.seeds import derive_generator
from dmin.settings.runs import Timesteps

log = logging.getLogger(__name__)

# Losses are kept for as many parts of the timesteps: enough for bands, and few beside the thousand of D-TRAK.
MOST_PARTS = 20
_TYPES = {
    "set": "int64", "repeat": "int64", "query_id": "string", "low_timestep": "int64", "high_timestep": "int64",
    "timesteps": "int64", "loss": "float64",
}  # fmt: skip


class LossSettings(TypedDict):
    """How the loss of a query is taken: at how many timesteps, under noises of which seed."""

    timesteps: int
    seed: int


def measure_losses(models: RetrainedModels, queries: Path, settings: LossSettings, out: Path, pace: Pace) -> None:
    """Write the training loss of every query under retrained models, for each part of the timesteps.

    Columns ``set, repeat, query_id, low_timestep, high_timestep, timesteps, loss``. Losses are taken at ``timesteps``
    evenly spaced timesteps, each with a noise of its own that depends on the query and the timestep alone, so all
    models meet the same noises. A row is the mean over neighbouring timesteps, ``timesteps`` of them from the low to
    the high one; there are at most 20 such parts. Source: the LDS of D-TRAK, which takes all 1,000.

    Args:
        queries: the encoded queries.

    Raises:
        UserError: a loss is not finite; the retraining is named.
    """
    encoded, device = EncodedSamples.load(queries), resolve_device(pace.device)
    grid: Timesteps = {"grid": "uniform", "count": settings["timesteps"], "custom": []}
    steps = timestep_grid(grid, models.base["family"])
    parts = timestep_parts(steps)
    wanted, start, tables = list(models.retrainings), time.monotonic(), []
    for place, member in enumerate(wanted):
        family = load_trained(models.of(member), device, ["denoiser"])
        losses = query_losses(family, encoded, steps, settings["seed"], pace.batch)
        if not torch.isfinite(losses).all():
            raise UserError(
                f"Retraining {member.name} has a loss that is not finite; to go on without its set, add {member.set} "
                "to the bank's exclude."
            )
        tables.append(_member_table(member, encoded.ids, parts, losses))
        each = (time.monotonic() - start) / (place + 1)
        log.info(
            "%s: mean loss %.5f, %.0f s to go", member.name, losses.mean().item(), each * (len(wanted) - place - 1)
        )
    # A range all of whose sets are left out has no row, but columns like the others.
    write_parquet(pd.concat(tables) if tables else pd.DataFrame(columns=list(_TYPES)).astype(_TYPES), out)


def timestep_parts(steps: Sequence[int]) -> list[list[int]]:
    """Cut descending timesteps into at most 20 parts of neighbours, as even as can be."""
    cuts = np.array_split(np.asarray(steps), min(len(steps), MOST_PARTS))
    return [part.tolist() for part in cuts]


def _member_table(
    member: Member, queries: Sequence[str], parts: Sequence[Sequence[int]], losses: torch.Tensor
) -> pd.DataFrame:
    sizes = [len(part) for part in parts]
    means = torch.stack([values.mean(1) for values in losses.split(sizes, 1)], 1)
    columns: dict[str, Any] = {
        "set": member.set,
        "repeat": member.repeat,
        "query_id": np.repeat(queries, len(parts)),
        "low_timestep": [part[-1] for part in parts] * len(queries),
        "high_timestep": [part[0] for part in parts] * len(queries),
        "timesteps": sizes * len(queries),
        "loss": means.flatten().numpy(),
    }
    return pd.DataFrame(columns)


@torch.no_grad()
def query_losses(family: Family, encoded: EncodedSamples, steps: list[int], seed: int, batch: int) -> torch.Tensor:
    """Return the loss of each query at each of ``steps``, float64 ``[queries, steps]``."""
    pairs = [(row, step) for row in range(len(encoded.ids)) for step in steps]
    values = []
    for found in encoded.ranges([row for row, _ in pairs], batch):
        part = pairs[found]
        rows = torch.tensor([row for row, _ in part])
        latents = encoded.latents_at(rows).to(family.device)
        shape = latents.shape[1:]
        noise = torch.stack(
            [torch.randn(shape, generator=derive_generator(seed, "lds", encoded.ids[row], step)) for row, step in part]
        )
        conditioning = {name: value[rows].to(family.device) for name, value in encoded.conditioning.items()}
        timesteps = torch.tensor([step for _, step in part], device=family.device)
        values.append(family.objective(latents, noise.to(family.device), timesteps, conditioning).double().cpu())
    return torch.cat(values).view(len(encoded.ids), len(steps))
