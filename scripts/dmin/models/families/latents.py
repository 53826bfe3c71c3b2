"""Images as latents of a frozen autoencoder."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from dmin.data.pixels import tensor_to_pixels
from dmin.models.families.sampling import require_finite
from dmin.runtime.errors import UserError


def require_autoencoder(vae: Any, base: str) -> None:
    """Check that an autoencoder takes and gives colour images, and that its latents have a scale.

    Raises:
        UserError: it has other channels than 3, its ``scaling_factor`` is no number above 0, or its ``shift_factor`` no
            number.
    """
    taken, given = vae.config.in_channels, vae.config.out_channels
    if (taken, given) != (3, 3):
        raise UserError(
            f"The vae of '{base}' has in_channels {taken} and out_channels {given}, and images have 3; take an "
            "autoencoder of colour images."
        )
    scale, shift = vae.config.scaling_factor, vae.config.shift_factor or 0.0
    if not (_is_number(scale) and scale > 0 and _is_number(shift)):
        raise UserError(
            f"The vae of '{base}' has scaling_factor {scale!r:.40} and shift_factor {shift!r:.40}; they must be finite "
            "and the first above 0."
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def shrinkage(config: Mapping[str, Any]) -> int:
    """Return how many pixels of a side an autoencoder of this ``config`` makes one of."""
    return int(2 ** (len(config["block_out_channels"]) - 1))


def latent_side(shrink: int, size: int, patch: int) -> int:
    """Return the side of the latent of a ``size`` x ``size`` image.

    Args:
        shrink: as :func:`shrinkage`.
        patch: side of the squares of latents that the denoiser takes as one.

    Raises:
        UserError: the size is no multiple of what the autoencoder and the denoiser together divide it by.
    """
    if size % (patch * shrink):
        raise UserError(
            f"Images of {size} px do not fit this autoencoder; set the data set's size, and its bucket_step, to a "
            f"multiple of {patch * shrink}."
        )
    return size // shrink


def encode_latents(vae: Any, pixels: torch.Tensor, patch: int) -> torch.Tensor:
    """Return the scaled modes of the posteriors of pixels ``[batch, 3, size, size]``, on the autoencoder's device.

    Raises:
        UserError: as :func:`latent_side`.
        NotFiniteError: a latent is NaN or infinite.
    """
    for side in pixels.shape[2:]:
        latent_side(shrinkage(vae.config), side, patch)
    mode: torch.Tensor = vae.encode(pixels.to(vae.device)).latent_dist.mode()
    latents = (mode - (vae.config.shift_factor or 0.0)) * vae.config.scaling_factor
    require_finite(latents, "the autoencoder's latents")
    return latents


def decode_latents(vae: Any, latents: torch.Tensor) -> np.ndarray:
    """Return the images of scaled latents, uint8 ``[batch, size, size, 3]``.

    Raises:
        NotFiniteError: a pixel is NaN or infinite.
    """
    pixels = vae.decode(latents / vae.config.scaling_factor + (vae.config.shift_factor or 0.0)).sample
    require_finite(pixels, "the autoencoder's pixels")
    return tensor_to_pixels(pixels)
