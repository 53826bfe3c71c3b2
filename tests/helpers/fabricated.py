"""Gradient files made from given vectors, so that scores can be checked without a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from dmin.data.samples import write_samples
from dmin.gradients.compress import compress
from dmin.gradients.shard import write_shard
from dmin.gradients.sketches.count_sketch import CountSketch

CACHE_DIM = 32
METADATA: dict[str, Any] = {
    "cache": "loss",
    "model": "m",
    "timesteps": [900, 500, 100],
    "noise": {"policy": "shared", "seed": 3},
    "cache_dim": CACHE_DIM,
    "sketch_seed": 5,
}


# Methods whose scores tell how much a sample matters, and not in which direction.
UNSIGNED = {"das"}


def write_gradients(
    path: Path, ids: Sequence[str], gradients: np.ndarray, errors: np.ndarray | None = None, **metadata: Any
) -> Path:
    """Write a shard of the gradients ``[n, T, P]`` as the cache would; errors of the output ``[n, T]`` are 1."""
    settings = {**METADATA, "P": gradients.shape[-1], **metadata}
    norm = np.linalg.norm(gradients, axis=-1).astype(np.float32)
    unit = (gradients / np.where(norm == 0, 1, norm)[..., None]).astype(np.float32)
    sketch = CountSketch(gradients.shape[-1], settings["cache_dim"], settings["sketch_seed"])
    rows = sketch.apply(torch.from_numpy(unit.reshape(-1, unit.shape[-1]))).numpy()
    tensors = {
        "sketch": rows.reshape(*norm.shape, -1).astype(np.float16),
        "norm": norm,
        "raw": unit.astype(np.float16),
        "error": np.ones_like(norm) if errors is None else errors.astype(np.float32),
    }
    write_shard(path, ids, settings, tensors)
    return path


def compress_shards(shards: Sequence[Path], width: int, out: Path) -> Path:
    """Compress shards to ``out`` (``.npy``) with its description beside it."""
    compress(shards, width, out, out.with_suffix(".json"), out.with_suffix(".metrics.json"))
    return out


def random_table(path: Path, count: int) -> pd.DataFrame:
    """Write a sample table of ``count`` rows ``s/0 ...`` whose images are random bytes, and return it."""
    generator = np.random.default_rng(0)
    images = [{"bytes": generator.bytes(50), "path": None} for _ in range(count)]
    names = {"id": [f"s/{row}" for row in range(count)], "prompt": [f"picture {row}" for row in range(count)]}
    frame = pd.DataFrame({**names, "image": images})
    write_samples(frame, path)
    return frame
