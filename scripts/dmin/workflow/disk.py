"""Room on the disk for what is still to be made."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Protocol

from ..runtime.errors import UserError
from .gradients import Gradients
from .ranges import range_ends
from .runs import Run

HALF_PRECISION = 2


class ShardJob(Protocol):
    """The wildcards of a job that makes a shard of gradients."""

    run: str
    cache: str
    split: str
    range: str


def require_room(asked: Iterable[ShardJob], runs: Mapping[str, Run], place: Callable[[str], str]) -> None:
    """Refuse to start where the disk cannot hold the gradient shards that are asked for and not there.

    Uncompressed gradients are not counted, since the number of parameters is known only with the model; each shard
    checks the disk again for everything it writes.

    Args:
        place: gives the place of a path on disk.

    Raises:
        UserError: the disk is too small; the sentence says by how much.
    """
    needed, missing, folder = 0, 0, Path(place("<results>"))
    for job in asked:
        shard = f"<results>/runs/{job.run}/gradients/{job.cache}/{job.split}/{job.range}.safetensors"
        if not Path(place(shard)).exists():
            start, stop = range_ends(job.range)
            needed += (stop - start) * _sample_bytes(runs[job.run].gradients, job.cache, job.split)
            missing += 1
    while not folder.exists():
        folder = folder.absolute().parent
    free = shutil.disk_usage(folder).free
    if missing and needed > free:
        raise UserError(
            f"The gradient cache needs {needed / 2**30:.1f} GiB for {missing} shards and '{folder}' has "
            f"{free / 2**30:.1f} GiB free; free some space, lower runs.*.gradients.cache_dim, or use --directory."
        )


def _sample_bytes(gradients: Gradients, cache: str, split: str) -> int:
    """Return what the sketches of a sample take in a cache."""
    width: int = gradients.gradient_settings(cache, split)["cache_dim"]
    return gradients.rows(cache, split) * width * HALF_PRECISION
