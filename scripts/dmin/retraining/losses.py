"""The loss of every query under every retrained model."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from dmin.gradients.timesteps import timestep_grid
from dmin.models.encoded import EncodedSamples
from dmin.models.families.family import Family
from dmin.models.load import load_trained
from dmin.retraining.retrain import members, weights_name
from dmin.runtime.atomic import write_parquet
from dmin.runtime.device import resolve_device
from dmin.runtime.errors import UserError
from dmin.runtime.seeds import derive_generator

log = logging.getLogger(__name__)


def measure_losses(
    folder: Path,
    queries: Path,
    base: Mapping[str, Any],
    finetune: str,
    bank: Mapping[str, Any],
    settings: Mapping[str, Any],
    span: tuple[int, int],
    out: Path,
    device: str,
    batch: int,
) -> None:
    """Write the training loss of every query under the retrainings ``span``; columns ``set, repeat, query_id, loss``.

    The loss is the mean over ``timesteps`` evenly spaced timesteps, each with a noise of its own that depends on the
    query and the timestep alone, so all models meet the same noises. Source: the LDS of D-TRAK, which takes all 1,000.

    Args:
        folder: see :func:`retrain_subsets`.
        queries: the encoded queries.
        settings: ``timesteps`` and ``seed``.

    Raises:
        UserError: a loss is not finite; the retraining is named.
    """
    encoded, where = EncodedSamples.load(queries), resolve_device(device)
    steps = timestep_grid({"grid": "uniform", "count": settings["timesteps"], "custom": []}, base["family"])
    wanted, start, tables = list(members(*span, bank["seeds"], bank["exclude"])), time.monotonic(), []
    for place, member in enumerate(wanted):
        family = load_trained(base, folder / member.name / weights_name(finetune), where, ["denoiser"])
        losses = query_losses(family, encoded, steps, settings["seed"], batch)
        if not torch.isfinite(losses).all():
            raise UserError(
                f"Retraining {member.name} has a loss that is not finite; to go on without its set, add {member.set} "
                "to the bank's exclude."
            )
        tables.append(
            pd.DataFrame(
                {"set": member.set, "repeat": member.repeat, "query_id": list(encoded.ids), "loss": losses.tolist()}
            )
        )
        pace = (time.monotonic() - start) / (place + 1)
        log.info(
            "%s: mean loss %.5f, %.0f s to go", member.name, losses.mean().item(), pace * (len(wanted) - place - 1)
        )
    columns = pd.DataFrame(columns=["set", "repeat", "query_id", "loss"])
    write_parquet(pd.concat(tables) if tables else columns, out)


@torch.no_grad()
def query_losses(family: Family, encoded: EncodedSamples, steps: list[int], seed: int, batch: int) -> torch.Tensor:
    """Return the loss of each query averaged over ``steps``, float64 ``[queries]``."""
    shape = encoded.latents.shape[1:]
    pairs = [(row, step) for row in range(len(encoded.ids)) for step in steps]
    values = []
    for first in range(0, len(pairs), batch):
        part = pairs[first : first + batch]
        rows = torch.tensor([row for row, _ in part])
        noise = torch.stack(
            [torch.randn(shape, generator=derive_generator(seed, "lds", encoded.ids[row], step)) for row, step in part]
        )
        conditioning = {name: value[rows].to(family.device) for name, value in encoded.conditioning.items()}
        timesteps = torch.tensor([step for _, step in part], device=family.device)
        latents = encoded.latents[rows].to(family.device)
        values.append(family.objective(latents, noise.to(family.device), timesteps, conditioning).double().cpu())
    return torch.cat(values).view(len(encoded.ids), len(steps)).mean(1)
