"""Cosine of raw pixels."""

from __future__ import annotations

import numpy as np

from dmin.attribution.image_blocks import flat_pixels, pixel_blocks
from dmin.data.sample_rows import SampleRows
from dmin.settings.runs import Options

METHOD = {
    "inputs": "samples",
    "summary": "How alike the images are, pixel by pixel.",
    "score": "cosine of pixels in [-1, 1]",
    "range": "[-1, 1]",
    "label": "Pixel cosine",
    "look": ("#8A7A1E", "D", "dashed"),
    "columns": ("image",),
    "one_shape": True,
}


# Images whose squares are held at once.
NORMED = 16


def scores(queries: SampleRows, train: SampleRows, options: Options) -> np.ndarray:
    """Return the cosine of flattened images in [-1, 1], float32 ``[queries, train]``; nothing to set.

    Raises:
        UserError: an image is unreadable, or the shapes differ.
    """
    images = queries.pixels()
    left = _flat(images)
    out = np.empty((len(queries), len(train)), dtype=np.float32)
    for rows, block in pixel_blocks(train, images.shape[1:]):
        out[:, rows] = left @ _flat(block).T
    return out


def _flat(pixels: np.ndarray) -> np.ndarray:
    """Return the images as unit rows float32 ``[n, values]``; in place, since a copy is as large as the block."""
    values = flat_pixels(pixels)
    for start in range(0, len(values), NORMED):
        part = values[start : start + NORMED]
        lengths = np.linalg.norm(part, axis=-1, keepdims=True)
        np.divide(part, lengths, out=part, where=lengths != 0)
    return values
