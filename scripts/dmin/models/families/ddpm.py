"""DDPM: an unconditional UNet on pixels."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMPipeline, UNet2DModel

from dmin.data.pixels import tensor_to_pixels
from dmin.models.families.family import Family
from dmin.models.families.sampling import Conditioning, Recorder, Sampling, require_finite, sample_ddim
from dmin.models.targets.diffusion import diffusion_target
from dmin.models.targets.target import Target
from dmin.runtime.errors import UserError
from dmin.runtime.text import shown

FAMILY = {
    "kind": "Ddpm",
    "summary": "Unconditional UNet on pixels in [-1, 1]; predicts noise or velocity; sampled by DDIM.",
    "conditional": False,
    "adapter": False,
    "shapes": False,
    "pipelines": ("DDPMPipeline",),
}


class Ddpm(Family):
    """An unconditional pipeline of a UNet2DModel and a scheduler; latents are pixels in [-1, 1], prompts are unused.

    A UNet of one channel takes grey images and generates them. Its files may stand at the top of the pipeline.
    """

    network = UNet2DModel
    part: ClassVar[str] = "unet"
    pipeline = DDPMPipeline
    flat: ClassVar[bool] = True

    def load_target(self) -> Target:
        return diffusion_target(self.stored)

    def latent_shape(self, size: int) -> tuple[int, ...]:
        config = self.denoiser_config
        side = config.get("sample_size")
        if side not in (None, size, [size, size]):
            raise UserError(f"Images of {size} px do not fit this UNet; set the data set's size to {shown(side)}.")
        return (self.latent_channels(), size, size)

    def latent_channels(self) -> int:
        channels: int = self.denoiser_config["in_channels"]
        return channels

    def encode_images(self, pixels: torch.Tensor) -> torch.Tensor:
        height, width = pixels.shape[-2:]
        if height != width:
            raise UserError(
                f"Images of {width} x {height} px do not fit this UNet, which takes squares; set the data set's "
                "bucket_step to null."
            )
        channels, *_ = self.latent_shape(height)
        if channels == pixels.shape[1]:
            return pixels
        grey = pixels[:, :1]
        if channels != 1 or not torch.equal(pixels, grey.expand_as(pixels)):
            raise UserError(
                f"The images have colour and this UNet takes {channels} channel(s); use a base with in_channels 3."
            )
        return grey

    def denoise(self, noised: torch.Tensor, times: torch.Tensor, conditioning: Conditioning) -> torch.Tensor:
        output: torch.Tensor = self.denoiser(noised, times).sample
        return output

    @torch.no_grad()
    def sample(
        self,
        conditioning: Conditioning,
        unconditional: Conditioning,
        noise: torch.Tensor,
        settings: Sampling,
        record: Recorder | None = None,
    ) -> np.ndarray:
        scheduler: Any = DDIMScheduler.from_config(self.target.scheduler.config)
        scheduler.set_timesteps(settings["steps"], device=self.device)
        images = sample_ddim(
            scheduler, noise.to(self.device), lambda images, time: self.denoise(images, time, {}), record
        )
        require_finite(images, "the pixels")
        return tensor_to_pixels(images.expand(-1, 3, -1, -1))
