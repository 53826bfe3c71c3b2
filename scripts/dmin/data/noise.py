"""Gaussian pixel noise for the noised copies of training images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    import torch


def add_noise(image: Image.Image, std: float, generator: torch.Generator) -> Image.Image:
    """Add independent Gaussian noise to every pixel and channel, clipped to the valid range.

    Args:
        image: 8-bit image in mode ``RGB`` or ``L``.
        std: standard deviation in units of the 0..1 pixel range.
        generator: CPU generator; seed it from the sample id, so that the noise does not depend on order.

    Returns:
        A new image of the same size and mode.
    """
    import torch  # here, so that a data set without noised copies is assembled without it

    pixels = np.asarray(image, dtype=np.float32)
    noise = torch.randn(pixels.shape, generator=generator).numpy()
    noised = np.clip(np.rint(pixels + 255.0 * std * noise), 0, 255).astype(np.uint8)
    return Image.fromarray(noised, image.mode)
