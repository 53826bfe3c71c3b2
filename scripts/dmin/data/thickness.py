"""Stroke thickness of a handwritten digit, the measure of Morpho-MNIST."""

from __future__ import annotations

import numpy as np
from PIL import Image
from skimage.morphology import medial_axis
from skimage.transform import pyramid_expand

from dmin.runtime.errors import UserError

UPSCALE = 4
# The side of MNIST's images, in whose pixels thickness is given.
SIDE = 28


def stroke_thickness(image: np.ndarray) -> float:
    """Return the mean stroke thickness of a bright stroke on a dark ground, in pixels of ``image``.

    The image is enlarged four times (cubic pyramid), cut at half of its range, and thickness is twice the mean
    distance from the medial axis to the ground, scaled back. MNIST digits measure about 1 to 6 pixels at their 28 px;
    resize other sizes first where they are to be compared. Edges as smooth as those of MNIST's digits are measured to a
    tenth of a pixel; the axis of a stroke with jagged edges or square ends forks, which lowers the mean.

    Args:
        image: ``[H, W]``, any numeric type and range.

    Returns:
        The thickness; NaN where the image is constant and so holds no stroke.

    Raises:
        UserError: the image has another shape or a value that is not finite.

    Source: Castro et al. 2019, Morpho-MNIST; its tie-breaking of the medial axis is random, here it has a fixed seed.
    """
    if image.ndim != 2:
        raise UserError(f"An image of shape {image.shape} has no stroke thickness; give a grey one, [height, width].")
    grey = image.astype(np.float64)
    if not np.isfinite(grey).all():
        raise UserError("An image with values that are not finite has no stroke thickness; mend or leave it out.")
    low, high = grey.min(), grey.max()
    if low == high:
        return float("nan")
    enlarged = pyramid_expand((grey - low) / (high - low), upscale=UPSCALE, order=3)
    half = (enlarged.min() + enlarged.max()) / 2
    axis, distance = medial_axis(enlarged >= half, return_distance=True, rng=0)
    return float(2 * distance[axis].mean() / UPSCALE)


def stroke_thicknesses(images: np.ndarray) -> np.ndarray:
    """Return :func:`stroke_thickness` of every image ``[N, H, W]``, float64 ``[N]``."""
    return np.array([stroke_thickness(image) for image in images], dtype=np.float64)


def digit_thicknesses(pixels: np.ndarray) -> np.ndarray:
    """Return the :func:`stroke_thickness` of every digit in pixels of a 28 px image, float64 ``[N]``.

    Args:
        pixels: uint8 ``[N, H, W, channels]``; channels are averaged, and other sizes resized to 28 px (bicubic).
    """
    grey = pixels.astype(np.float64).mean(axis=-1)
    if grey.shape[1:] != (SIDE, SIDE):
        resized = [Image.fromarray(image.astype(np.float32)) for image in grey]
        grey = np.stack([np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for image in resized])
    return stroke_thicknesses(grey.clip(0, 255))
