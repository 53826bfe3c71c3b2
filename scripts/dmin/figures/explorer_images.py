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

# Generated images are shown large, training images as cards, and either at full size up to so many pixels.
QUERY_PIXELS = 256
SAMPLE_PIXELS = 128
LARGE_PIXELS = 512
# Bytes before base64, by which a page of 5,000 training images and 120 queries stays under 25 MB.
ATLAS_BYTES = {"queries": 2_000_000, "samples": 6_500_000}
LARGE_BYTES = {"queries": 1_400_000, "samples": 2_000_000}
_EXAMPLES = 48


class Pictures:
    """Collects the pictures of a table that a page lists, one at a time.

    Args:
        table: the sample table, with ``id`` and ``image``.
        listed: ids, each with its place in the page's list, in the table's order.
        kind: ``queries`` or ``samples``, which says how large they are.

    Raises:
        UserError: an image is unreadable.
    """

    def __init__(self, table: Path, listed: Mapping[str, int], kind: str) -> None:
        self._table, self._listed, self._kind = table, listed, kind
        ids = list(listed)
        picked = {ids[int(place)] for place in np.linspace(0, len(ids) - 1, min(_EXAMPLES, len(ids)))}
        frame = read_samples(table, ["id", "image"], picked)
        self._examples = [open_cell(cell, str(name))[0] for name, cell in zip(frame["id"], frame["image"], strict=True)]
        largest = QUERY_PIXELS if kind == "queries" else SAMPLE_PIXELS
        self.cells: Cells = choose_cells(self._examples, len(ids), largest, ATLAS_BYTES[kind])

    def collect(self, first: Sequence[str], blobs: Blobs) -> dict[str, Any]:
        """Return the atlas, and larger copies of as many as the budget allows, those of ``first`` before all others.

        Returns:
            ``side``, ``columns``, ``lossless`` and ``sheets`` of the atlas; by place ``cells``, ``sizes`` (width and
            height of the image itself) and ``files``; ``large``: ``{place: blob}``.
        """
        atlas, budget = Atlas(self.cells), LARGE_BYTES[self._kind]
        wanted = set(first[: self._count_large(budget)])
        cells, sizes, files, large = [], [], [], {}
        for name, cell in self._rows():
            image, data = open_cell(cell, name)
            cells.append(atlas.add(image, hashlib.sha256(data).digest()))
            sizes.append(list(image.size))
            files.append(cell.get("path"))
            if name in wanted and max(image.size) > self.cells.side:
                copy = _large(image)
                if len(copy) <= budget:
                    budget -= len(copy)
                    large[str(self._listed[name])] = blobs.add(copy)
        atlas.finish()
        return {
            "side": self.cells.side,
            "columns": self.cells.columns,
            "lossless": self.cells.lossless,
            "sheets": [blobs.add(sheet) for sheet in atlas.sheets],
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
        sizes = [len(_large(image)) for image in self._examples]
        return int(budget / (sum(sizes) / len(sizes))) if sizes else 0


def _large(image: Image.Image) -> bytes:
    return webp(image.resize(fitted(image.size, LARGE_PIXELS), Image.Resampling.LANCZOS))
