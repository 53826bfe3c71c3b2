"""Inner products of pixels about the training set's mean image."""

from __future__ import annotations

import numpy as np

from dmin.attribution.image_blocks import flat_pixels, pixel_blocks
from dmin.data.sample_rows import SampleRows
from dmin.settings.runs import Options

METHOD = {
    "inputs": "samples",
    "summary": "How alike the images are in what sets them apart from the mean training image.",
    "score": "`<x_q - xbar, x_i - xbar>` over the number of values",
    "range": "squared pixel units, pixels in [-1, 1]",
    "label": "Pixels, centred",
    "look": ("#8A7A1E", "P", "solid"),
    "columns": ("image",),
    "one_shape": True,
}


def scores(queries: SampleRows, train: SampleRows, options: Options) -> np.ndarray:
    """Return ``<x_q - xbar, x_i - xbar> / P``, float32 ``[queries, train]``, ``xbar`` the mean training image.

    A baseline of ours: where a network learned the velocity, its loss at high noise is the distance to the mean image,
    and so these products predict what retraining does to it.

    Raises:
        UserError: an image is unreadable, or the shapes differ.
    """
    images = queries.pixels()
    total = np.zeros(images[0].size)
    for _, block in pixel_blocks(train, images.shape[1:]):
        total += flat_pixels(block).sum(axis=0, dtype=np.float64)
    mean = (total / len(train)).astype(np.float32)
    left = (flat_pixels(images) - mean) / np.float32(images[0].size)
    out = np.empty((len(queries), len(train)), dtype=np.float32)
    for rows, block in pixel_blocks(train, images.shape[1:]):
        values = flat_pixels(block)
        values -= mean
        out[:, rows] = left @ values.T
    return out
