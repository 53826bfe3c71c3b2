"""Images of sample tables, decoded in bounded blocks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dmin.data.sample_rows import SampleRows
from dmin.runtime.errors import UserError

BLOCK_BYTES = 2**27


def pixel_blocks(train: SampleRows, shape: tuple[int, ...], value_bytes: int = 4) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield uint8 blocks ``[n, height, width, channels]`` of the training images with the rows that they are.

    Args:
        shape: ``(height, width, channels)`` of the queries' images.
        value_bytes: what the caller holds for each value of a block, which bounds the block.

    Raises:
        UserError: an image is unreadable or has another shape.
    """
    for places, block in train.pixel_blocks(max(1, BLOCK_BYTES // (value_bytes * int(np.prod(shape))))):
        if block.shape[1:] != shape:
            raise UserError(
                f"Training images have shape {block.shape[1:]}, the queries {shape}; make both with one size and mode."
            )
        yield places, block


def flat_pixels(pixels: np.ndarray) -> np.ndarray:
    """Return images as rows of values in [-1, 1], float32 ``[n, values]``, with one copy alone."""
    values = pixels.reshape(len(pixels), -1).astype(np.float32)
    values /= np.float32(127.5)
    values -= 1
    return values
