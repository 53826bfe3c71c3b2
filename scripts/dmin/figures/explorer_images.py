"""The pictures of the explorer: small ones of all in atlases, and larger copies of those that lists show."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dmin.data.samples import iter_samples, read_samples
from dmin.figures.atlas import Atlas, Cells, choose_cells, fitted, open_cell, webp
from dmin.figures.blobs import Blobs

# Generated images are shown large, training images as cards.
QUERY_PIXELS = 256
SAMPLE_PIXELS = 128
_EXAMPLES = 48


class Pictures:
    """Collects the pictures of a table that a page lists, one at a time.

    Args:
        table: the sample table, with ``id`` and ``image``.
        listed: ids, each with its place in the page's list, in the table's order.
        kind: ``queries`` or ``samples``, which says how large they are.
        blobs: where they go.

    Raises:
        UserError: an image is unreadable.
    """

    def __init__(self, table: Path, listed: Mapping[str, int], kind: str, blobs: Blobs) -> None:
        self._table, self._listed, self._blobs = table, listed, blobs
        space = blobs.space
        self._large, self._pixels = space.large[kind], space.pixels
        ids = list(listed)
        picked = {ids[int(place)] for place in np.linspace(0, len(ids) - 1, min(_EXAMPLES, len(ids)))}
        frame = read_samples(table, ["id", "image"], picked)
        self._examples = [open_cell(cell, str(name))[0] for name, cell in zip(frame["id"], frame["image"], strict=True)]
        largest = QUERY_PIXELS if kind == "queries" else SAMPLE_PIXELS
        self.cells: Cells = choose_cells(self._examples, len(ids), largest, space.atlas[kind], space.sheets[kind])

    def collect(self, first: Sequence[str]) -> dict[str, Any]:
        """Return the atlas, and larger copies: of as many of ``first`` as there is space for, or of all.

        Returns:
            ``side``, ``columns``, ``lossless`` and ``sheets`` of the atlas; by place ``cells``, ``sizes`` (width and
            height of the image itself) and ``files``; ``large``: ``{place: blob}``.
        """
        sheets: list[int] = []
        atlas, budget = Atlas(self.cells, lambda sheet: sheets.append(self._blobs.add(sheet))), self._large
        wanted = self._listed.keys() if budget is None else set(first[: self._count_large(budget)])
        cells, sizes, files, large = [], [], [], {}
        for name, cell in self._rows():
            image, data = open_cell(cell, name)
            cells.append(atlas.add(image, hashlib.sha256(data).digest()))
            sizes.append(list(image.size))
            files.append(cell.get("path"))
            if name in wanted and max(image.size) > self.cells.side:
                copy = self._copy(image)
                if budget is None or len(copy) <= budget:
                    budget = None if budget is None else budget - len(copy)
                    large[str(self._listed[name])] = self._blobs.add(copy)
        atlas.finish()
        return {
            "side": self.cells.side,
            "columns": self.cells.columns,
            "lossless": self.cells.lossless,
            "sheets": sheets,
            "cells": cells,
            "sizes": sizes,
            "files": files,
            "large": large,
        }

    def _rows(self) -> Iterable[tuple[str, Any]]:
        for row in iter_samples(self._table, ["id", "image"]):
            if row["id"] in self._listed:
                yield str(row["id"]), row["image"]

    def _count_large(self, budget: int) -> int:
        sizes = [len(self._copy(image)) for image in self._examples]
        return int(budget / (sum(sizes) / len(sizes))) if sizes else 0

    def _copy(self, image: Image.Image) -> bytes:
        return webp(image.resize(fitted(image.size, self._pixels), Image.Resampling.LANCZOS))
