"""Facts of an image that say whether it is fit to train on."""

from __future__ import annotations

import io
import warnings
from typing import NamedTuple

import numpy as np
from PIL import Image

from dmin.data.colour import is_transparent
from dmin.data.images import FORMATS

# A row or column of pixels whose values differ by less is one colour, in 0..1.
_FLAT = 4 / 255


class PixelFacts(NamedTuple):
    """Facts of an image at the size that it is trained at; see :func:`pixel_facts`."""

    sharpness: float
    border: float
    brightness: float
    contrast: float
    clipped: float


class FileFacts(NamedTuple):
    """Facts of an image as it came: width and height in pixels, and whether it has transparency."""

    width: int
    height: int
    alpha: bool


def pixel_facts(pixels: np.ndarray) -> PixelFacts:
    """Return what uint8 pixels ``[height, width, channels]`` say.

    ``sharpness`` is the root mean square of the Laplacian of the grey image over its standard deviation, so that
    contrast does not count; ``border`` the share of the area in rows and columns of one colour at the edges;
    ``brightness`` and ``contrast`` mean and standard deviation of the grey image, ``clipped`` the share of its pixels
    that are black or white: all in 0..1 but the first.
    """
    grey = pixels.astype(np.float64).mean(axis=2) / 255
    contrast = float(grey.std())
    laplacian = 4 * grey[1:-1, 1:-1] - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:]
    sharpness = float(np.sqrt((laplacian**2).mean()) / contrast) if contrast > 0 and laplacian.size else 0.0
    height, width = grey.shape
    inside = max(0, height - _edges(grey)) * max(0, width - _edges(grey.T))
    clipped = float(((grey <= 1 / 255) | (grey >= 254 / 255)).mean())
    return PixelFacts(sharpness, 1 - inside / (height * width), float(grey.mean()), contrast, clipped)


def file_facts(data: bytes) -> FileFacts:
    """Return what the header of an encoded image says; the pixels are not decoded.

    Raises:
        OSError: it is no image.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        return FileFacts(*image.size, is_transparent(image))


def _edges(grey: np.ndarray) -> int:
    """Return how many rows from the top and from the bottom are of one colour, all of them where all are."""
    flat = np.ptp(grey, axis=1) < _FLAT
    if flat.all():
        return len(flat)
    return int(np.argmin(flat) + np.argmin(flat[::-1]))
