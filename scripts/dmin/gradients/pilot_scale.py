"""Measure the scale of every tensor's gradient on a few training samples."""

from __future__ import annotations

import logging
from pathlib import Path

from dmin.gradients.cache_kind import GradientSettings, KindSettings
from dmin.gradients.pilot import Pilot
from dmin.gradients.scale import SquaresSink, tensor_factors
from dmin.models.load import TrainedModel
from dmin.runtime.atomic import write_json
from dmin.runtime.digests import file_digest
from dmin.runtime.pace import Pace
from dmin.runtime.provenance import PROVENANCE, provenance

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
    pilot = Pilot.of(samples, model, config, kind, pace)
    sink = SquaresSink()
    pilot.feed(sink)
    tensors = _describe(pilot, sink)
    largest = max(tensors, key=lambda row: float(row["share"]))
    log.info("largest share of the squared gradient: %s, %.1f %%", largest["tensor"], 100 * float(largest["share"]))
    made = provenance({"gradients": config}, {**model.digests(), "samples": file_digest(samples)})
    write_json({"scale": config["scale"], "tensors": tensors, PROVENANCE: made}, out)


def _describe(pilot: Pilot, sink: SquaresSink) -> list[dict[str, str | int | float]]:
    engine, loss_scale = pilot.gradient_pass.engine, pilot.gradient_pass.loss_scale
    squares = {name: sink.squares[at] / len(pilot.rows) / loss_scale**2 for name, at in engine.offsets.items()}
    means = {name: squares[name] / size for name, size in engine.sizes.items()}
    factors = tensor_factors(means, engine.sizes, pilot.gradient_pass.config["scale"])
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
