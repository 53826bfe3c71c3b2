"""Images as latents of a frozen autoencoder."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from dmin.data.pixels import tensor_to_pixels
from dmin.runtime.errors import UserError


def encode_latents(vae: Any, pixels: torch.Tensor, patch: int) -> torch.Tensor:
    """Return the scaled modes of the posteriors of pixels ``[batch, 3, size, size]``, on the autoencoder's device.

    Args:
        patch: side of the squares of latents that the denoiser takes as one.

    Raises:
        UserError: the size is no multiple of what the autoencoder and the denoiser together divide it by.
    """
    unit = patch * 2 ** (len(vae.config.block_out_channels) - 1)
    if pixels.shape[-1] % unit or pixels.shape[-2] % unit:
        raise UserError(
            f"Images of {pixels.shape[-1]} px do not fit this autoencoder; set the data set's size to a multiple of "
            f"{unit}."
        )
    mode: torch.Tensor = vae.encode(pixels.to(vae.device)).latent_dist.mode()
    return (mode - (vae.config.shift_factor or 0.0)) * vae.config.scaling_factor


def decode_latents(vae: Any, latents: torch.Tensor) -> np.ndarray:
    """Return the images of scaled latents, uint8 ``[batch, size, size, 3]``."""
    return tensor_to_pixels(vae.decode(latents / vae.config.scaling_factor + (vae.config.shift_factor or 0.0)).sample)
