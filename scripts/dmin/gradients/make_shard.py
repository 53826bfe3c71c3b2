"""One shard of a gradient cache, made so that a killed job goes on where it was."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dmin.gradients.shard import write_shard
from dmin.models.encoded import EncodedSamples
from dmin.models.regions import Regions
from dmin.runtime.digests import config_digest
from dmin.runtime.errors import UserError
from dmin.runtime.meter import Meter
from dmin.runtime.pace import Pace
from dmin.runtime.progress import Progress, Shapes
from dmin.runtime.provenance import made_by, provenance
from dmin.runtime.sidecar import only_writer


@dataclass(frozen=True)
class ShardTask:
    """A shard to make of the encoded ``samples`` from ``start`` to ``stop``, and the JSON file of what it cost.

    With ``regions``, it is made of those of them from ``start`` to ``stop``, which are regions of the samples.
    """

    samples: Path
    start: int
    stop: int
    shard: Path
    metrics: Path
    regions: Path | None = None

    def read(self) -> EncodedSamples:
        """Return its samples.

        Raises:
            UserError: a file is torn or foreign, or a sample is not there.
        """
        if self.regions is None:
            return EncodedSamples.load(self.samples, self.start, self.stop)
        return Regions.load(self.regions, self.start, self.stop).encoded(self.samples)


@dataclass(frozen=True)
class ShardContents:
    """What a shard will hold.

    Attributes:
        ids: of its samples.
        metadata: what the gradients depend on.
        shapes: of the arrays; the rows of a sample are neighbours.
        config: its part of the config, for the provenance.
        made_from: digests of what it is made from, by role.
    """

    ids: Sequence[str]
    metadata: Mapping[str, Any]
    shapes: Shapes
    config: Mapping[str, Mapping[str, Any]]
    made_from: Mapping[str, str]

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that its rows depend on."""
        rows = {"ids": config_digest(list(self.ids)), "arrays": sorted(self.shapes)}
        return {**self.config["gradients"], **self.metadata, **self.made_from, **rows}


def shared_metadata(config: Mapping[str, Any], digests: Mapping[str, str], samples: EncodedSamples) -> dict[str, Any]:
    """Return what the metadata of every kind of cache hold.

    Args:
        config: the section ``gradients`` of a run, as it holds for the cache.
        digests: of the ``weights`` and the ``base``.
        samples: whose latents' shape is that of the noise too; of aspect-ratio buckets, the channels alone are common.
    """
    settings = {key: config[key] for key in ("parameters", "noise", "cache_dim", "sketch_kind", "sketch_seed")}
    latent = list(samples.shapes[0])
    return {
        **settings,
        "latent": latent[:1] if samples.bucketed else latent,
        "model": digests["weights"],
        "base": digests["base"],
    }


def make_shard(
    task: ShardTask,
    contents: ShardContents,
    compute: Callable[[slice], Mapping[str, torch.Tensor]],
    pace: Pace,
    unit: str,
    **facts: int,
) -> None:
    """Write a shard and its metrics.

    A killed job resumes at its last finished micro-batch; running out of GPU memory halves the micro-batch and goes on.

    Args:
        compute: returns the values of a range of rows, by array.
        unit: what the log calls rows.
        facts: what the metrics tell beside seconds, bytes and numbers of samples and parameters.

    Raises:
        UserError: the disk is too small, another process makes the shard, or the end was asked for.
    """
    require_space(task.shard, contents.shapes)
    resume = task.shard.parent / ".resume"
    with only_writer(resume, task.shard.stem):
        progress = Progress(resume, task.shard.stem, {**contents.settings, **made_by(pace.code)}, contents.shapes)
        with Meter() as meter:
            progress.fill(compute, pace, unit)
        count, parameters = len(contents.ids), contents.metadata["P"]
        tensors = {
            name: np.array(array).reshape(count, -1, *array.shape[1:]) for name, array in progress.arrays.items()
        }
        made = provenance(contents.config, contents.made_from)
        write_shard(task.shard, contents.ids, contents.metadata, tensors, made)
        meter.write(
            task.metrics,
            samples=count,
            parameters=parameters,
            bytes=sum(array.nbytes for name, array in tensors.items() if name != "raw"),
            raw_bytes=4 * parameters * tensors["norm"].size,
            **facts,
        )
        progress.discard()


def require_space(shard: Path, shapes: Shapes) -> None:
    """Check that the disk holds the shard and its resumable copy.

    Raises:
        UserError: it does not.
    """
    needed = 2 * sum(int(np.prod(shape)) * np.dtype(dtype).itemsize for shape, dtype in shapes.values())
    shard.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(shard.parent).free
    if free < needed:
        raise UserError(
            f"The gradient shard '{shard}' needs {needed / 2**30:.1f} GiB of disk while it is made, and "
            f"{free / 2**30:.1f} GiB are free; free some space or lower gradients.shard_size."
        )
