"""Fold cached sketches to a smaller width."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dmin.gradients.shard import open_shards, shards_digest
from dmin.gradients.sketches.fold import fold
from dmin.runtime.atomic import atomic_path, write_json
from dmin.runtime.meter import Meter
from dmin.runtime.provenance import PROVENANCE, provenance

log = logging.getLogger(__name__)

BLOCK = 64


def compress(shards: Sequence[Path], width: int, sketch: Path, description: Path, metrics: Path) -> None:
    """Fold the sketches of all shards to ``width`` and write them as one array ``[N, T, width]`` fp16.

    The fold is exact: it equals the sketch that ``width`` would have given, but for the rounding of fp16. Memory is
    that of one shard's sketch: rows are written as they come.

    Raises:
        UserError: a shard is torn, or the shards' settings differ.
    """
    opened = open_shards(shards)
    ids = [sample for shard in opened for sample in shard.ids]
    steps = len(opened[0].metadata["timesteps"])
    with Meter() as meter:
        with atomic_path(sketch) as temporary, temporary.open("wb") as file:
            header = {"descr": "<f2", "fortran_order": False, "shape": (len(ids), steps, width)}
            np.lib.format.write_array_header_1_0(file, header)
            for shard in opened:
                rows = shard.read("sketch")
                for start in range(0, len(rows), BLOCK):
                    folded = fold(rows[start : start + BLOCK].astype(np.float32), width)
                    file.write(np.ascontiguousarray(folded, dtype="<f2").data)
        made = provenance({"v": width}, {"shards": shards_digest(opened)}, {"sketch": sketch})
        write_json({**opened[0].metadata, "v": width, "ids": ids, PROVENANCE: made}, description)
    meter.write(metrics, samples=len(ids), bytes=sketch.stat().st_size)
    log.info("%d samples at %d timesteps folded to v=%d in %.1f s", len(ids), steps, width, meter.seconds)
