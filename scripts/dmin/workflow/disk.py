"""Room on the disk for what is still to be made."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from ..runtime.errors import UserError
from .gradients import SPLITS
from .ranges import range_ends
from .runs import Run

HALF_PRECISION = 2


def require_room(runs: Iterable[Run], place: Callable[[str], str]) -> None:
    """Refuse to start where the disk cannot hold the gradient shards still to be made.

    Uncompressed gradients are not counted, since the number of parameters is known only with the model; each shard
    checks the disk again for everything it writes.

    Args:
        place: gives the place of a path on disk.

    Raises:
        UserError: the disk is too small; the sentence says by how much.
    """
    needed, missing, folder = 0, 0, Path(place("<results>"))
    for run in runs:
        for shard, row_bytes in _shards(run):
            if not Path(place(shard)).exists():
                start, stop = range_ends(Path(shard).stem)
                needed += (stop - start) * row_bytes
                missing += 1
    while not folder.exists():
        folder = folder.absolute().parent
    free = shutil.disk_usage(folder).free
    if missing and needed > free:
        raise UserError(
            f"The gradient cache needs {needed / 2**30:.1f} GiB for {missing} shards and '{folder}' has "
            f"{free / 2**30:.1f} GiB free; free some space, lower runs.*.gradients.cache_dim, or use --directory."
        )


def _shards(run: Run) -> Iterable[tuple[str, int]]:
    """Yield the shards of a run, with the bytes of a sample in each."""
    shards = [
        (cache, shard)
        for split in SPLITS
        for cache in run.influence.caches(split)
        for shard in run.gradients.shards(cache, split)
    ]
    for cache, shard in [*shards, *run.held_out.shards]:
        yield shard, run.gradients.rows(cache) * HALF_PRECISION * run.gradients.settings["cache_dim"]
