"""A synthetic gradient store of any size: shards as the cache writes them, and the same rows as one array."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dmin.gradients.shard import write_shard
from dmin.runtime.atomic import write_json

SHARD_ROWS = 16_384
_CLUSTERS = 1000
# Sign and mantissa of a float16, and the exponent of magnitudes from 2^-7 to 2^-6.
_KEPT, _EXPONENT = 0x83FF, 0x2000


def write_store(folder: Path, count: int, width: int) -> tuple[list[Path], Path]:
    """Write ``count`` rows of one timestep, fp16, and return the shards and the array ``[count, 1, width]``."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(count)
    shards = []
    with (folder / "train.npy").open("wb") as file:
        header = {"descr": "<f2", "fortran_order": False, "shape": (count, 1, width)}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, count, SHARD_ROWS):
            rows = draw_rows(generator, min(SHARD_ROWS, count - start), width)
            file.write(rows.data)
            shards.append(folder / f"{start}.safetensors")
            ids = [f"s/{number}" for number in range(start, start + len(rows))]
            norms = np.ones((len(rows), 1), dtype=np.float32)
            write_shard(shards[-1], ids, _metadata(width), {"sketch": rows, "norm": norms})
    return shards, folder / "train.npy"


def draw_rows(generator: np.random.Generator, count: int, width: int) -> np.ndarray:
    """Return rows ``[count, 1, width]`` whose first half is one of 1000 centres, so that there are neighbours."""
    bits = generator.integers(0, 2**64, (count, width // 4), dtype=np.uint64).view(np.uint16)
    centres = np.random.default_rng(0).integers(0, 2**16, (_CLUSTERS, width // 2), dtype=np.uint16)
    bits[:, : width // 2] = centres[generator.integers(0, _CLUSTERS, count)]
    bits &= _KEPT
    bits |= _EXPONENT
    return bits.view(np.float16)[:, None]


def write_queries(path: Path, count: int, width: int, folded: int) -> np.ndarray:
    """Write queries folded to a smaller width, as an index is searched for, and return them unfolded."""
    rows = draw_rows(np.random.default_rng(1), count, width)
    narrow = rows.astype(np.float32).reshape(count, 1, folded, -1).sum(-1)
    np.save(path, narrow.astype(np.float16))
    ids = [f"q/{number}" for number in range(count)]
    write_json({**_metadata(width), "v": folded, "ids": ids}, path.with_suffix(".json"))
    return rows


def _metadata(width: int) -> dict[str, Any]:
    return {"model": "synthetic", "timesteps": [500], "cache_dim": width, "P": width}
