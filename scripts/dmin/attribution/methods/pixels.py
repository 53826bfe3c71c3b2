"""Cosine of raw pixels."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dmin.attribution.image_blocks import pixel_blocks
from dmin.attribution.vectors import unit_rows
from dmin.data.samples import sample_pixels
from dmin.settings.runs import Options

METHOD = {
    "inputs": "samples",
    "summary": "How alike the images are, pixel by pixel.",
    "score": "cosine of pixels in [-1, 1]",
    "range": "[-1, 1]",
    "label": "Pixel cosine",
    "look": ("#8A7A1E", "D", "dashed"),
    "columns": ("image",),
}


def scores(queries: pd.DataFrame, train: pd.DataFrame, options: Options) -> np.ndarray:
    """Return the cosine of flattened images in [-1, 1], float32 ``[queries, train]``; nothing to set.

    Raises:
        UserError: an image is unreadable, or the shapes differ.
    """
    images = sample_pixels(queries)
    left = _flat(images)
    out = np.empty((len(queries), len(train)), dtype=np.float32)
    for rows, block in pixel_blocks(train, images.shape[1:]):
        out[:, rows] = left @ _flat(block).T
    return out


def _flat(pixels: np.ndarray) -> np.ndarray:
    values = pixels.reshape(len(pixels), -1).astype(np.float32)
    return unit_rows(values / np.float32(127.5) - 1)
