"""Measure the curvature of every tensor on a few training samples."""

from __future__ import annotations

import logging
from pathlib import Path

from dmin.gradients.cache_kind import GradientSettings, KindSettings
from dmin.gradients.curvature import Eigenbasis, KroneckerCurvature, TensorCurvature
from dmin.gradients.kronecker import KroneckerFactors, RotatedSquaresSink
from dmin.gradients.pilot import Pilot
from dmin.models.load import TrainedModel
from dmin.runtime.digests import file_digest
from dmin.runtime.pace import Pace
from dmin.runtime.provenance import PROVENANCE, provenance

log = logging.getLogger(__name__)


class _Nothing:
    """Takes gradients and keeps none: the factors are made of what the gradients are made of."""

    def add(self, offset: int, gradient: object) -> None:
        """Take a gradient."""


def pilot_curvature(
    samples: Path, model: TrainedModel, config: GradientSettings, kind: KindSettings, pace: Pace, out: Path
) -> None:
    """Write the curvature of every tensor, from some training samples at every timestep, as safetensors.

    A first pass gives the bases of every linear and convolution's weight, ``{tensor}/left [O, O]`` and ``{tensor}/right
    [I, I]``, and a second one the mean squared gradient in them, ``{tensor}/values [O, I]``, in squared units of the
    loss. What has no basis on a side has the mean squares as they are. Gradients are those of the training loss, so
    this is the empirical Fisher matrix in a Kronecker-factored eigenbasis. No ``[rows, P]`` is held, but a basis per
    side, and one value per parameter.

    Raises:
        UserError: the pilot is larger than the set, a loss or a gradient is not finite, or no tensor has a gradient.

    Source: EK-FAC.
    """
    settings = config["curvature"]
    pilot = Pilot.of(samples, model, config, kind, pace)
    factors = KroneckerFactors(settings["widest"])
    pilot.feed(_Nothing(), factors.see)
    bases, offsets = factors.bases(), pilot.gradient_pass.engine.offsets
    sink = RotatedSquaresSink({offsets[name]: found for name, found in bases.items()})
    pilot.feed(sink)
    tensors = {
        name: TensorCurvature(
            bases[name][0] if name in bases else Eigenbasis(),
            sink.squares[at] / len(pilot.rows) / pilot.gradient_pass.loss_scale**2,
        )
        for name, at in offsets.items()
    }
    curvature = KroneckerCurvature(tensors, 0.0)
    sides = [len(basis.tensors()) for basis, _ in bases.values()]
    log.info(
        "tensors: %d, with bases of both sides: %d, of one: %d; mean square %.3g",
        len(tensors), sides.count(2), sides.count(1), curvature.mean,
    )  # fmt: skip
    made = provenance({"gradients": config}, {**model.digests(), "samples": file_digest(samples)})
    curvature.save(out, settings, {PROVENANCE: made})
