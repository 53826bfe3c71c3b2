"""A data set of images of several shapes, small, in aspect-ratio buckets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from dmin.data.assembly import AssembledFiles, assemble_dataset
from dmin.data.images import encode_png
from dmin.data.samples import write_samples

SIZE, STEP = 16, 4
# A square, and what is wide and high.
SHAPES = [(16, 16), (24, 8), (8, 24)]
ROWS = 7


def _source(path: Path, shapes: Sequence[tuple[int, int]]) -> Path:
    generator = np.random.default_rng(0)
    sides = [shapes[row % len(shapes)] for row in range(ROWS)]
    pixels = [generator.integers(0, 256, (2 * height, 2 * width, 3), dtype=np.uint8) for width, height in sides]
    images = [{"bytes": encode_png(Image.fromarray(image)), "path": None} for image in pixels]
    frame = pd.DataFrame({"image": pd.Series(images), "prompt": [f"a red flag {row}" for row in range(ROWS)]})
    write_samples(frame.assign(label=None, origin=[f"{row}.png" for row in range(ROWS)], repeats=1), path)
    return path


def assembled(folder: Path, shapes: Sequence[tuple[int, int]], **changes: Any) -> Path:
    """Assemble a data set of images of ``shapes`` and return its training table."""
    folder.mkdir(exist_ok=True)
    config: dict[str, Any] = {
        "size": SIZE, "seed": 0, "train_fraction": 1, "test_sources": [], "classes": None, "convert_profiles": True,
        "noise": {"fraction": 0, "std": 0.1}, **changes,
    }  # fmt: skip
    paths = [folder / name for name in ("train.parquet", "test.parquet", "dataset.json", "duplicates.csv")]
    assemble_dataset({"a": _source(folder / "a.parquet", shapes)}, config, AssembledFiles(*paths))  # type: ignore[arg-type]
    return paths[0]
