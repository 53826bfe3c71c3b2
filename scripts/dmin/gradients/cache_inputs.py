"""What a gradient cache follows beside its samples: a trajectory, a training log, a scale, a curvature."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dmin.gradients.cache_kind import CacheKind
from dmin.gradients.curvature import KroneckerCurvature
from dmin.gradients.make_shard import ShardTask
from dmin.gradients.replay import Replay
from dmin.gradients.scale import TensorScale
from dmin.models.encoded import EncodedSamples, require_one_shape
from dmin.models.queries.trajectory import Trajectory
from dmin.runtime.digests import file_digest


@dataclass(frozen=True)
class CacheInputs:
    """The files of a cache's kind, read; each is None where the kind has none."""

    trajectory: Trajectory | None = None
    replay: Replay | None = None
    scale: TensorScale | None = None
    curvature: KroneckerCurvature | None = None

    @classmethod
    def load(cls, kind: CacheKind, samples: EncodedSamples, task: ShardTask) -> CacheInputs:
        """Read them for the samples of a shard.

        Raises:
            UserError: a file is torn, does not hold these samples, or holds latents of another shape.
        """
        trajectory = replay = scale = curvature = None
        if kind.trajectory is not None:
            if samples.origins is None:
                trajectory = Trajectory.load(kind.trajectory, samples.ids, task.start, task.stop)
            else:
                trajectory = Trajectory.load_named(kind.trajectory, samples.origins)
            trajectory = trajectory.thinned(kind.settings["steps"])
            require_one_shape(trajectory.clean[:, 0], samples.latents, "recorded trajectories", "encoded queries")
        if kind.replay is not None:
            replay = Replay.load(kind.replay, samples.ids, kind.settings["checkpoint"])
        if kind.scale is not None:
            scale = TensorScale.load(kind.scale, kind.settings["power"])
        if kind.curvature is not None:
            curvature = KroneckerCurvature.load(kind.curvature, kind.settings["damping"])
        return cls(trajectory, replay, scale, curvature)


def input_digests(kind: CacheKind, task: ShardTask) -> dict[str, str]:
    """Return a digest of every file that a shard of this kind is made from, by role."""
    files: dict[str, Path | None] = {"samples": task.samples, "regions": task.regions}
    files |= {"trajectory": kind.trajectory, "replay": kind.replay}
    files |= {"scale": kind.scale, "curvature": kind.curvature}
    return {role: file_digest(path) for role, path in files.items() if path is not None}
