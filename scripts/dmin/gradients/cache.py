"""Cache the gradients of one range of samples."""

from __future__ import annotations

import logging
from dataclasses import astuple, replace
from typing import Any

import numpy as np

from dmin.gradients.attributed_networks import attributed_parts
from dmin.gradients.cache_inputs import CacheInputs, input_digests
from dmin.gradients.cache_kind import CacheKind, GradientSettings
from dmin.gradients.gradient_pass import WITH_ERROR, GradientPass
from dmin.gradients.make_shard import ShardContents, ShardTask, make_shard, shared_metadata
from dmin.gradients.sketches.blocks import BlockSketch
from dmin.gradients.timesteps import timestep_grid
from dmin.models.load import TrainedModel, load_trained
from dmin.runtime.device import resolve_device
from dmin.runtime.pace import Pace
from dmin.runtime.progress import Shapes

log = logging.getLogger(__name__)


def cache_gradients(
    task: ShardTask, model: TrainedModel, config: GradientSettings, kind: CacheKind, pace: Pace
) -> None:
    """Write a shard: unit sketches, norms and, if asked for, raw unit gradients.

    Samples and timesteps mix in one batch of ``pace.batch`` evaluations. See :func:`make_shard` for what happens when
    the job is killed or the GPU's memory is full.

    Raises:
        UserError: a loss or gradient is unusable (sample and timestep named), cache_dim exceeds the number of
            parameters, or as :func:`make_shard`.
    """
    encoded = task.read()
    family = load_trained(model, resolve_device(pace.device), attributed_parts(config["parameters"]))
    family.require_latents(encoded.shapes[0])
    inputs = CacheInputs.load(kind, encoded, task)
    gradient_pass = GradientPass(family, encoded, config, kind.settings, inputs)
    for line in gradient_pass.engine.coverage:
        share = 100 * line.share
        log.info("parameters by %s: %d tensors, %d values, %.1f %%", line.path, line.tensors, line.parameters, share)
    timesteps: list[Any] = ["replayed"]
    if inputs.replay is not None:
        rows = list(enumerate(inputs.replay.timesteps))
    else:
        timesteps = (
            inputs.trajectory.timesteps
            if inputs.trajectory
            else timestep_grid(config["timesteps"], model.base["family"])
        )
        rows = [(sample, timestep) for sample in range(len(encoded.ids)) for timestep in timesteps]
    digests, draws = model.digests(), kind.settings["draws"]
    contents = ShardContents(
        encoded.ids,
        _metadata(gradient_pass, kind, digests, timesteps),
        _shapes(gradient_pass, len(rows)),
        {"gradients": config, "cache": kind.settings},
        {**digests, **input_digests(kind, task)},
    )
    make_shard(
        task,
        contents,
        lambda part: gradient_pass.compute(rows[part]),
        replace(pace, batch=max(1, pace.batch // draws)),
        "evaluations",
        timesteps=len(timesteps),
        evaluations=len(rows) * draws,
    )


def _metadata(
    gradient_pass: GradientPass, kind: CacheKind, digests: dict[str, str], timesteps: list[Any]
) -> dict[str, Any]:
    """Return what the gradients depend on, and with a sketch per tensor where each stands."""
    config = gradient_pass.config
    objective = "trajectory" if kind.trajectory else "replay" if kind.replay else config["objective"]
    metadata = {
        **shared_metadata(config, digests, gradient_pass.encoded),
        "cache": kind.name,
        "quantity": kind.settings["quantity"],
        "draws": kind.settings["draws"],
        "P": gradient_pass.engine.parameter_count,
        "timesteps": timesteps,
        "objective": objective,
        "precision": config["precision"],
    }
    if gradient_pass.inputs.scale is not None:
        metadata["scale"] = gradient_pass.inputs.scale.metadata()
    if gradient_pass.inputs.curvature is not None:
        metadata["curvature"] = gradient_pass.inputs.curvature.metadata()
    if isinstance(gradient_pass.sketch, BlockSketch):
        metadata["blocks"] = [list(astuple(block)) for block in gradient_pass.sketch.blocks]
    if "width" in kind.settings:
        metadata["v"] = kind.settings["width"]
    if kind.settings.get("layers"):
        metadata["layers"] = gradient_pass.layers
    return metadata


def _shapes(gradient_pass: GradientPass, rows: int) -> Shapes:
    width, each = gradient_pass.kind.get("width"), (rows, *gradient_pass.groups)
    kept = (gradient_pass.config["cache_dim"], np.float16) if width is None else (width, np.float32)
    shapes: dict[str, tuple[tuple[int, ...], Any]] = {
        "sketch": ((*each, kept[0]), kept[1]),
        "norm": (each, np.float32),
    }
    if gradient_pass.kind["quantity"] in WITH_ERROR:
        shapes["error"] = ((rows,), np.float32)
    if gradient_pass.config["keep_raw"]:
        shapes["raw"] = ((rows, gradient_pass.engine.parameter_count), np.float16)
    return shapes
