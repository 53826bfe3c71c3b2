"""A sample table on disk as methods see it: columns when they are asked for, images in bounded blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dmin.data.images import require_shape
from dmin.data.samples import NO_ROWS, iter_blocks, pixel_runs, read_samples, require_columns, sample_pixels
from dmin.runtime.errors import UserError


class SampleRows:
    """The rows of a sample table, in its order, of which only the ``ids`` are held.

    Args:
        path: the table.
        columns: what it must have beside ``id``.

    Raises:
        UserError: the file is missing, torn or lacks a column.
    """

    def __init__(self, path: Path, columns: Sequence[str] = ()) -> None:
        self.path = path
        require_columns(path, ["id", *columns])
        self.ids: list[str] = read_samples(path, ["id"])["id"].tolist()

    def __len__(self) -> int:
        return len(self.ids)

    def blocks(self, rows: int, columns: Sequence[str]) -> Iterator[tuple[slice, pd.DataFrame]]:
        """Yield ``rows`` rows at a time, with the places that they have, in order.

        Raises:
            UserError: the file is torn or lacks a column.
        """
        start = 0
        for block in iter_blocks(self.path, rows, columns):
            yield slice(start, start + len(block)), block
            start += len(block)

    def pixel_blocks(self, rows: int) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield the images of up to ``rows`` rows at a time, uint8 ``[n, height, width, channels]``, and their places.

        Where the size changes between two rows, a new block begins.

        Raises:
            UserError: the file is torn, or an image is unreadable.
        """
        for places, block in self.blocks(rows, ["id", "image"]):
            for run, pixels in pixel_runs(block):
                yield slice(places.start + run.start, places.start + run.stop), pixels

    def equal_blocks(self, rows: int) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield the blocks of :meth:`pixel_blocks` of a table whose images all have one size and mode.

        Raises:
            UserError: the sizes or modes differ, or there is no image, or as :meth:`pixel_blocks`.
        """
        if not self.ids:
            raise UserError(NO_ROWS)
        first: tuple[int, ...] = ()
        for places, pixels in self.pixel_blocks(rows):
            first = first or pixels.shape[1:]
            require_shape(pixels[0], first, self.ids[places.start])
            yield places, pixels

    def pixels(self) -> np.ndarray:
        """Return all images at once, uint8 ``[N, height, width, channels]``, for tables as small as the queries.

        Raises:
            UserError: the file is torn, an image is unreadable, the sizes or modes differ, or there is none.
        """
        return sample_pixels(read_samples(self.path, ["id", "image"]))
