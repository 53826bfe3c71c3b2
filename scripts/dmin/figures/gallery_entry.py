"""One query of a gallery and the training images beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class GalleryItem:
    """A ranked training image: uint8 pixels ``[height, width, 3]``, caption, subset, score and file."""

    image: np.ndarray
    caption: str
    subset: str
    score: float
    file: str = ""


@dataclass(frozen=True)
class GalleryEntry:
    """A generated image (uint8 ``[height, width, 3]``) of ``subset``, None where unknown, with its most and least
    influential images.

    ``most`` starts with the largest score, ``least`` with the smallest.
    """

    image: np.ndarray
    prompt: str
    most: Sequence[GalleryItem]
    least: Sequence[GalleryItem]
    subset: str | None
