"""What tells copies of an image: a digest of its pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np


def pixel_digest(pixels: np.ndarray) -> str:
    """Return a digest of uint8 pixels ``[height, width, channels]``, equal for equal pixels alone."""
    return hashlib.blake2b(repr(pixels.shape).encode() + pixels.tobytes(), digest_size=16).hexdigest()


def groups_of_equal(digests: Sequence[str]) -> list[list[int]]:
    """Return the places of every digest that stands more than once, in order."""
    places: dict[str, list[int]] = {}
    for place, digest in enumerate(digests):
        places.setdefault(digest, []).append(place)
    return [group for group in places.values() if len(group) > 1]
