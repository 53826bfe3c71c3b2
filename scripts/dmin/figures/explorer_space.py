"""How much an explorer may hold: as one page, and as a folder."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Space:
    """How much a page may hold; bytes are those before base64, by kind: ``queries`` and ``samples``.

    Attributes:
        listed: training images; those that lists show, or an audit flags, come first and are all listed.
        sheets: pixels of a side of the sheets of an atlas.
        atlas: bytes of the atlases.
        pixels: of the longer side of larger copies.
        large: bytes of larger copies, those that lists show first; None has them of all images.
        scores: bytes of all scores, those of the first rankings first; None has all.
    """

    listed: float
    sheets: Mapping[str, int]
    atlas: Mapping[str, int]
    pixels: int
    large: Mapping[str, int | None]
    scores: int | None


# By these, a page of 5,000 training images and 120 queries stays under 25 MB.
PAGE = Space(
    listed=5_000,
    sheets={"queries": 2048, "samples": 2048},
    atlas={"queries": 2_000_000, "samples": 6_500_000},
    pixels=512,
    large={"queries": 1_400_000, "samples": 2_000_000},
    scores=4_800_000,
)
# Which of many training images are on show is not foreseen, so each of their sheets is soon read and decoded.
FOLDER = Space(
    listed=math.inf,
    sheets={"queries": 2048, "samples": 512},
    atlas={"queries": 64_000_000, "samples": 256_000_000},
    pixels=1024,
    large={"queries": None, "samples": None},
    scores=None,
)
