"""Many small pictures in few large ones, which a browser decodes at once."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from dmin.data.images import open_image
from dmin.runtime.errors import UserError

SHEET = 2048
_QUALITY = 82
_SIDES = (96, 64, 48, 32)
# What is measured on some pictures holds for all but for this much.
_MARGIN = 1.15


@dataclass(frozen=True)
class Cells:
    """How pictures are kept: fitted into squares of ``side`` pixels, every pixel as it is or by WebP's lossy code.

    A sheet has ``sheet`` pixels a side at most.
    """

    side: int
    lossless: bool
    sheet: int = SHEET

    @property
    def columns(self) -> int:
        """Cells of a row of a sheet; a sheet has as many rows at most."""
        return max(1, self.sheet // self.side)


class Atlas:
    """Fills sheets with pictures, one of which is held as pixels at a time; equal pictures share a cell.

    Args:
        keep: takes each full sheet, as WebP; ``finish`` gives it the last.
    """

    def __init__(self, cells: Cells, keep: Callable[[bytes], object]) -> None:
        self.cells = cells
        self._keep = keep
        self._found: dict[bytes, int] = {}
        self._sheet = Image.new("RGB", (1, 1))
        self._filled = 0

    def add(self, image: Image.Image, key: bytes) -> int:
        """Add a picture in RGB and return its cell; of one ``key``, such as a digest, only the first is kept."""
        if key in self._found:
            return self._found[key]
        cell = len(self._found)
        self._found[key] = cell
        if self._filled == self.cells.columns**2:
            self.finish()
        if not self._filled:
            side = self.cells.columns * self.cells.side
            self._sheet = Image.new("RGB", (side, side), "white")
        row, column = divmod(self._filled, self.cells.columns)
        self._filled += 1
        small = image.resize(fitted(image.size, self.cells.side), Image.Resampling.LANCZOS)
        self._sheet.paste(small, (column * self.cells.side, row * self.cells.side))
        return cell

    def finish(self) -> None:
        """Encode the sheet that is being filled, if there is one, without its empty rows."""
        if self._filled:
            columns, rows = min(self._filled, self.cells.columns), -(-self._filled // self.cells.columns)
            box = (0, 0, columns * self.cells.side, rows * self.cells.side)
            self._keep(webp(self._sheet.crop(box), self.cells.lossless))
            self._filled = 0


def choose_cells(examples: Sequence[Image.Image], count: int, largest: int, budget: int, sheet: int) -> Cells:
    """Return the largest cells in which ``count`` pictures like the examples take at most ``budget`` bytes.

    Pictures no larger than ``largest`` pixels are kept exactly where the budget allows. Where no cell is small enough,
    the smallest is taken.
    """
    side = min(largest, max((max(image.size) for image in examples), default=1))
    options = [Cells(side, False, sheet), *(Cells(small, False, sheet) for small in _SIDES if small < side)]
    if all(max(image.size) <= side for image in examples):
        options.insert(0, Cells(side, True, sheet))
    for cells in options:
        sheets: list[bytes] = []
        atlas = Atlas(cells, sheets.append)
        for place, image in enumerate(examples):
            atlas.add(image, str(place).encode())
        atlas.finish()
        if sum(map(len, sheets)) / max(1, len(examples)) * count * _MARGIN <= budget:
            return cells
    return options[-1]


def fitted(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Return the width and height at which a picture fits into a square; one that is smaller stays as it is."""
    scale = min(1.0, side / max(size))
    return max(1, int(size[0] * scale + 0.5)), max(1, int(size[1] * scale + 0.5))


def webp(image: Image.Image, lossless: bool = False) -> bytes:
    """Return a picture as WebP."""
    buffer = io.BytesIO()
    image.save(buffer, format="WEBP", lossless=lossless, quality=_QUALITY if not lossless else 60, method=4)
    return buffer.getvalue()


def open_cell(cell: object, name: str) -> tuple[Image.Image, bytes]:
    """Return the picture of a table cell ``{bytes, path}`` in RGB, on white where it is transparent, and its bytes.

    Raises:
        UserError: the cell holds no readable image; ``name`` says which.
    """
    data: Any = cell.get("bytes") if isinstance(cell, Mapping) else None
    if not isinstance(data, bytes) or not data:
        raise UserError(f"Image '{name}' has no bytes in its table; make the table again.")
    try:
        image = open_image(data, name)
        if "A" in image.mode or "transparency" in image.info:
            image = image.convert("RGBA")
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image)
        return image.convert("RGB"), data
    except Exception as error:
        raise UserError(f"Image '{name}' is unreadable ({type(error).__name__}); make its table again.") from error
