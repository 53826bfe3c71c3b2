"""Images of sample tables, decoded in bounded blocks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from dmin.data.samples import sample_pixels
from dmin.runtime.errors import UserError

BLOCK_BYTES = 2**27


def pixel_blocks(train: pd.DataFrame, shape: tuple[int, ...]) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield uint8 blocks ``[n, height, width, channels]`` of the training images with the rows that they are.

    Args:
        shape: ``(height, width, channels)`` of the queries' images.

    Raises:
        UserError: an image is unreadable or has another shape.
    """
    rows = max(1, BLOCK_BYTES // (4 * int(np.prod(shape))))
    for start in range(0, len(train), rows):
        block = sample_pixels(train.iloc[start : start + rows])
        if block.shape[1:] != shape:
            raise UserError(
                f"Training images have shape {block.shape[1:]}, the queries {shape}; make both with one size and mode."
            )
        yield slice(start, start + len(block)), block
