"""Cache the gradients of one range of samples."""

from __future__ import annotations

import logging
from dataclasses import astuple, replace
from typing import Any

import numpy as np

from dmin.gradients.cache_kind import CacheKind, GradientSettings
from dmin.gradients.gradient_pass import GradientPass
from dmin.gradients.make_shard import ShardContents, ShardTask, make_shard, shared_metadata
from dmin.gradients.replay import Replay
from dmin.gradients.sketches.blocks import BlockSketch
from dmin.gradients.timesteps import timestep_grid
from dmin.models.encoded import EncodedSamples, require_one_shape
from dmin.models.load import TrainedModel, load_trained
from dmin.models.queries.trajectory import Trajectory
from dmin.runtime.device import resolve_device
from dmin.runtime.digests import file_digest
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
    encoded = EncodedSamples.load(task.samples, task.start, task.stop)
    family = load_trained(model, resolve_device(pace.device), ["denoiser"])
    family.require_latents(encoded.latents.shape[1:])
    trajectory = replay = None
    if kind.trajectory is not None:
        trajectory = Trajectory.load(kind.trajectory, encoded.ids, task.start, task.stop)
        trajectory = trajectory.thinned(kind.settings["steps"])
        require_one_shape(trajectory.clean[:, 0], encoded.latents, "recorded trajectories", "encoded queries")
    if kind.replay is not None:
        replay = Replay.load(kind.replay, encoded.ids, kind.settings["checkpoint"])
    gradient_pass = GradientPass(family, encoded, config, kind.settings, trajectory, replay)
    for line in gradient_pass.engine.coverage:
        share = 100 * line.share
        log.info("parameters by %s: %d tensors, %d values, %.1f %%", line.path, line.tensors, line.parameters, share)
    timesteps: list[Any] = ["replayed"]
    if replay is not None:
        rows = list(enumerate(replay.timesteps))
    else:
        timesteps = trajectory.timesteps if trajectory else timestep_grid(config["timesteps"], model.base["family"])
        rows = [(sample, timestep) for sample in range(len(encoded.ids)) for timestep in timesteps]
    digests, draws = model.digests(), kind.settings["draws"]
    files = {"samples": task.samples, "trajectory": kind.trajectory, "replay": kind.replay}
    contents = ShardContents(
        encoded.ids,
        _metadata(gradient_pass, kind, digests, timesteps),
        _shapes(gradient_pass, len(rows)),
        {"gradients": config, "cache": kind.settings},
        {**digests, **{role: file_digest(path) for role, path in files.items() if path is not None}},
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
        **shared_metadata(config, digests, gradient_pass.encoded.latents),
        "cache": kind.name,
        "quantity": kind.settings["quantity"],
        "draws": kind.settings["draws"],
        "P": gradient_pass.engine.parameter_count,
        "timesteps": timesteps,
        "objective": objective,
        "precision": config["precision"],
    }
    if isinstance(gradient_pass.sketch, BlockSketch):
        metadata["blocks"] = [list(astuple(block)) for block in gradient_pass.sketch.blocks]
    return metadata


def _shapes(gradient_pass: GradientPass, rows: int) -> Shapes:
    shapes: dict[str, tuple[tuple[int, ...], Any]] = {
        "sketch": ((rows, gradient_pass.config["cache_dim"]), np.float16),
        "norm": ((rows,), np.float32),
    }
    if gradient_pass.config["keep_raw"]:
        shapes["raw"] = ((rows, gradient_pass.engine.parameter_count), np.float16)
    return shapes
