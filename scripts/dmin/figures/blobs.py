"""Arrays and pictures that a page decodes only when it shows them: inside it, or as files beside it."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from dmin.figures.explorer_space import Space

LEVELS = 65_535
# So many numbers make a file: a page reads what it shows, and soon.
PIECE = 2**18
# So many pictures make a folder.
PER_FOLDER = 1000


class Blobs(Protocol):
    """Collects bytes; equal ones share a place."""

    space: Space

    def add(self, picture: bytes) -> int:
        """Add a WebP picture and return its place."""
        ...

    def add_levels(self, levels: np.ndarray) -> int:
        """Add unsigned integers of 16 bits ``[rows, width]`` and return their place; a page reads row by row."""
        ...

    def taken(self) -> int:
        """Return how many bytes there are."""
        ...


class PageBlobs:
    """Base64 for elements of their own in the page.

    Attributes:
        texts: of each, by place.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self.texts: list[str] = []
        self._places: dict[str, int] = {}

    def add(self, picture: bytes) -> int:
        text = base64.b64encode(picture).decode("ascii")
        if text not in self._places:
            self._places[text] = len(self.texts)
            self.texts.append(text)
        return self._places[text]

    def add_levels(self, levels: np.ndarray) -> int:
        return self.add(_little(levels))

    def taken(self) -> int:
        return sum(len(text) for text in self.texts) * 3 // 4


@dataclass
class FileBlobs:
    """Files below ``folder``: ``files/{thousand}/{place}.webp``, and ``files/{thousand}/{place}-{piece}.js``.

    A page that was opened as a file may read no file but as a picture or as a script. So numbers are scripts, of one
    call, ``took(name, base64)``: nothing else of a data set stands in them.

    Attributes:
        piece: numbers of a file; a row is never parted.
        sums: SHA-256 of every file, by its path from ``folder`` on.
    """

    folder: Path
    space: Space
    piece: int = PIECE
    sums: dict[str, str] = field(default_factory=dict)
    _places: dict[bytes, int] = field(default_factory=dict)
    _bytes: int = 0

    def add(self, picture: bytes) -> int:
        place, known = self._place(hashlib.sha256(picture).digest())
        if not known:
            self._write(place, f"{place}.webp", picture)
        return place

    def add_levels(self, levels: np.ndarray) -> int:
        data = _little(levels)
        # Equal bytes of other rows are parted elsewhere.
        place, known = self._place(hashlib.sha256(data + str(levels.shape).encode()).digest())
        size = 2 * levels.shape[1] * max(1, self.piece // levels.shape[1])
        for piece, start in enumerate(range(0, 0 if known else len(data), size)):
            text = base64.b64encode(data[start : start + size]).decode("ascii")
            self._write(place, f"{place}-{piece}.js", f'took("{place}-{piece}","{text}");\n'.encode("ascii"))
        return place

    def taken(self) -> int:
        return self._bytes

    def _place(self, digest: bytes) -> tuple[int, bool]:
        known = digest in self._places
        return self._places.setdefault(digest, len(self._places)), known

    def _write(self, place: int, name: str, data: bytes) -> None:
        path = self.folder / "files" / str(place // PER_FOLDER) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        self.sums[str(path.relative_to(self.folder))] = hashlib.sha256(data).hexdigest()
        self._bytes += len(data)


def _little(levels: np.ndarray) -> bytes:
    return np.ascontiguousarray(levels, dtype="<u2").tobytes()


def quantised(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return ``values [n, m]`` as levels 0..65,535 between the ends ``low [n]`` and ``high [n]`` of their rows, uint16.

    ``low + level / 65535 * (high - low)`` is off by at most half a level.
    """
    span = np.where(high > low, high - low, 1.0)[:, None]
    return np.rint((values - low[:, None]) / span * LEVELS).astype(np.uint16)
