"""A row of a data set before its image is written."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AssembledRow:
    """A row of the data set.

    Attributes:
        repeats: how often training sees it in a pass.
        original: the place, among the originals, of the image that it has, or that it is a noised copy of.
        change: how its image is changed on purpose, a name of :data:`dmin.data.planted_images.CHANGES`; empty where it
            is not.
    """

    id: str
    subset: str
    prompt: str
    label: str | None
    origin: str
    repeats: int
    original: int
    change: str = ""
