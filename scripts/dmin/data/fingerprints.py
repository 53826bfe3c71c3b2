"""What tells copies of an image: a digest of its pixels, and a perceptual hash."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from PIL import Image

# Sides of the grid of a hash, and of the image that its frequencies are taken of.
_SIDE, _SAMPLED = 8, 32


def pixel_digest(pixels: np.ndarray) -> str:
    """Return a digest of uint8 pixels ``[height, width, channels]``, equal for equal pixels alone."""
    return hashlib.blake2b(repr(pixels.shape).encode() + pixels.tobytes(), digest_size=16).hexdigest()


def perceptual_hash(pixels: np.ndarray) -> np.ndarray:
    """Return the signs, boolean ``[63]``, of the lowest frequencies of an image against their median.

    Light, contrast, scale and compression change few of them. Those of an image without content are all False.

    Args:
        pixels: uint8 ``[height, width, channels]``.

    Source: pHash (Zauner 2010): the discrete cosine transform of the grey image at 32 x 32, without its mean.
    """
    grey = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0]).convert("L")
    values = np.asarray(grey.resize((_SAMPLED, _SAMPLED), Image.Resampling.LANCZOS), dtype=np.float64)
    low = (_COSINES @ values @ _COSINES.T).ravel()[1:]
    if np.abs(low).max() < 1:
        return np.zeros(low.shape, dtype=bool)
    signs: np.ndarray = low > np.median(low)
    return signs


def hash_distances(one: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return in how many of 63 places a hash ``[63]`` differs from others ``[n, 63]``."""
    distances: np.ndarray = (others != one).sum(axis=1)
    return distances


def groups_of_equal(digests: Sequence[str]) -> list[list[int]]:
    """Return the places of every digest that stands more than once, in order."""
    places: dict[str, list[int]] = {}
    for place, digest in enumerate(digests):
        places.setdefault(digest, []).append(place)
    return [group for group in places.values() if len(group) > 1]


def _cosines() -> np.ndarray:
    frequency, place = np.arange(_SIDE)[:, None], np.arange(_SAMPLED)[None, :]
    rows: np.ndarray = np.cos(np.pi * frequency * (2 * place + 1) / (2 * _SAMPLED))
    return rows


_COSINES = _cosines() / np.sqrt(_SAMPLED / 2)
