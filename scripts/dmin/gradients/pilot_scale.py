"""Measure the scale of every tensor's gradient on a few training samples."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path

import torch

from dmin.gradients.attributed_networks import attributed_parts
from dmin.gradients.cache_kind import GradientSettings, KindSettings
from dmin.gradients.gradient_pass import GradientPass
from dmin.gradients.scale import SquaresSink, tensor_factors
from dmin.gradients.timesteps import timestep_grid
from dmin.models.encoded import EncodedSamples, count_encoded, join_latents
from dmin.models.load import TrainedModel, load_trained
from dmin.runtime.atomic import write_json
from dmin.runtime.device import resolve_device
from dmin.runtime.digests import file_digest
from dmin.runtime.errors import UserError
from dmin.runtime.pace import Pace
from dmin.runtime.provenance import PROVENANCE, provenance
from dmin.settings.scale import pilot_size

log = logging.getLogger(__name__)


def pilot_scale(
    samples: Path, model: TrainedModel, config: GradientSettings, kind: KindSettings, pace: Pace, out: Path
) -> None:
    """Write the scale of every tensor, from the gradients of some training samples at every timestep, as JSON.

    Per tensor: its name, ``size`` P_l, ``mean_square`` r_l (the mean squared gradient element, in squared units of the
    loss), the ``share`` of the squared gradient that it holds, and its ``factor`` s_l. Squares are summed tensor by
    tensor as the gradients arrive, so that no ``[rows, P]`` is held.

    Raises:
        UserError: the pilot is larger than the set, a loss is not finite, or as :func:`tensor_factors`.

    Source: ours: DMin under the diagonal of a preconditioner that has one value per tensor.
    """
    settings = config["scale"]
    family = load_trained(model, resolve_device(pace.device), attributed_parts(config["parameters"]))
    count = count_encoded(samples)
    encoded = _read(samples, pilot_places(count, pilot_size(settings, count)))
    gradient_pass = GradientPass(family, encoded, config, kind)
    timesteps = timestep_grid(config["timesteps"], model.base["family"])
    rows = [(place, timestep) for place in range(len(encoded.ids)) for timestep in timesteps]
    sink = SquaresSink()
    for first in range(0, len(rows), pace.batch):
        part = rows[first : first + pace.batch]
        losses = torch.cat([gradient_pass.differentiate(run, sink) for run in gradient_pass.runs(part)])
        for (place, timestep), loss in zip(part, losses.tolist(), strict=True):
            if not math.isfinite(loss):
                raise UserError(f"Sample '{encoded.ids[place]}' at timestep {timestep} has loss {loss:g}; mend it.")
    tensors = _describe(gradient_pass, sink, len(rows))
    largest = max(tensors, key=lambda row: float(row["share"]))
    log.info("largest share of the squared gradient: %s, %.1f %%", largest["tensor"], 100 * float(largest["share"]))
    made = provenance({"gradients": config}, {**model.digests(), "samples": file_digest(samples)})
    write_json({"scale": settings, "tensors": tensors, PROVENANCE: made}, out)


def pilot_places(count: int, pilot: int) -> list[int]:
    """Return the places of ``pilot`` of ``count`` samples, evenly spread, so that every subset has its share.

    Raises:
        UserError: the pilot is larger than the set.
    """
    if pilot > count:
        raise UserError(f"gradients.scale.pilot is {pilot}, but there are {count} training samples; lower it.")
    return [place * count // pilot for place in range(pilot)]


def _read(samples: Path, places: Sequence[int]) -> EncodedSamples:
    """Read some samples and no others, for a set may be larger than memory."""
    parts = [EncodedSamples.load(samples, place, place + 1) for place in places]
    first = parts[0]
    return EncodedSamples(
        [name for part in parts for name in part.ids],
        join_latents(parts),
        {key: torch.cat([part.conditioning[key] for part in parts]) for key in first.conditioning},
        first.unconditional,
        tokens={key: torch.cat([part.tokens[key] for part in parts]) for key in first.tokens},
    )


def _describe(gradient_pass: GradientPass, sink: SquaresSink, rows: int) -> list[dict[str, str | int | float]]:
    engine = gradient_pass.engine
    squares = {name: sink.squares[at] / rows / gradient_pass.loss_scale**2 for name, at in engine.offsets.items()}
    means = {name: squares[name] / size for name, size in engine.sizes.items()}
    factors = tensor_factors(means, engine.sizes, gradient_pass.config["scale"])
    total = sum(squares.values())
    return [
        {
            "tensor": name,
            "size": size,
            "mean_square": means[name],
            "share": squares[name] / total,
            "factor": factors[name],
        }
        for name, size in engine.sizes.items()
    ]
