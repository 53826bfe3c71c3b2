"""Arrays and pictures that a page decodes only when it shows them, as base64 in elements of their own."""

from __future__ import annotations

import base64

import numpy as np

LEVELS = 65_535


class Blobs:
    """Collects bytes; equal ones share a place.

    Attributes:
        texts: base64 of each, by place.
    """

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._places: dict[str, int] = {}

    def add(self, data: bytes) -> int:
        """Add bytes and return their place."""
        text = base64.b64encode(data).decode("ascii")
        if text not in self._places:
            self._places[text] = len(self.texts)
            self.texts.append(text)
        return self._places[text]

    def add_levels(self, levels: np.ndarray) -> int:
        """Add unsigned integers of 16 bits, little-endian, and return their place."""
        return self.add(np.ascontiguousarray(levels, dtype="<u2").tobytes())


def quantised(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return ``values [n, m]`` as levels 0..65,535 between the ends ``low [n]`` and ``high [n]`` of their rows, uint16.

    ``low + level / 65535 * (high - low)`` is off by at most half a level.
    """
    span = np.where(high > low, high - low, 1.0)[:, None]
    return np.rint((values - low[:, None]) / span * LEVELS).astype(np.uint16)
