"""DDPM: an unconditional UNet on pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel

from dmin.data.pixels import tensor_to_pixels
from dmin.models.families.family import Conditioning, Family, Recorder
from dmin.models.families.scheduler import load_scheduler
from dmin.runtime.errors import UserError

FAMILY = {
    "kind": "Ddpm",
    "summary": "Unconditional UNet on pixels in [-1, 1]; predicts noise or velocity; sampled by DDIM.",
    "conditional": False,
    "adapter": False,
}


class Ddpm(Family):
    """An unconditional pipeline of a UNet2DModel and a scheduler; latents are pixels in [-1, 1], prompts are unused.

    A UNet of one channel takes grey images and generates them.
    """

    name: ClassVar[str] = "ddpm"
    part: ClassVar[str] = "unet"

    def __init__(self, base: str, revision: str | None, device: torch.device, parts: Sequence[str]) -> None:
        self.device = device
        self.scheduler = load_scheduler(DDPMScheduler, base, revision, ("epsilon", "v_prediction"))
        self.config = UNet2DModel.load_config(base, subfolder=self.part, revision=revision)
        if "denoiser" in parts:
            self.denoiser = self._frozen(self.load_denoiser(UNet2DModel, base, revision))

    @classmethod
    def load(cls, base: str, revision: str | None, device: torch.device, parts: Sequence[str]) -> Ddpm:
        return cls(base, revision, device, parts)

    @property
    def latent_shape(self) -> tuple[int, ...]:
        return (self.config["in_channels"], self.config["sample_size"], self.config["sample_size"])

    def encode_images(self, pixels: torch.Tensor) -> torch.Tensor:
        channels, *size = self.latent_shape
        if list(pixels.shape[2:]) != size:
            raise UserError(
                f"Images of {pixels.shape[-1]} px do not fit this UNet; set the data set's size to {size[0]}."
            )
        if channels == pixels.shape[1]:
            return pixels
        grey = pixels[:, :1]
        if channels != 1 or not torch.equal(pixels, grey.expand_as(pixels)):
            raise UserError(
                f"The images have colour and this UNet takes {channels} channel(s); use a base with in_channels 3."
            )
        return grey

    def encode_prompts(self, prompts: Sequence[str]) -> Conditioning:
        return {}

    def objective(
        self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor, conditioning: Conditioning
    ) -> torch.Tensor:
        prediction = self.predict(latents, noise, timesteps, conditioning)
        target = noise
        if self.scheduler.config.prediction_type == "v_prediction":
            target = self.scheduler.get_velocity(latents, noise, timesteps)
        return (prediction.float() - target.float()).square().flatten(1).mean(1)

    def predict(
        self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor, conditioning: Conditioning
    ) -> torch.Tensor:
        output: torch.Tensor = self.denoiser(self.scheduler.add_noise(latents, noise, timesteps), timesteps).sample
        return output

    @torch.no_grad()
    def sample(
        self,
        conditioning: Conditioning,
        unconditional: Conditioning,
        noise: torch.Tensor,
        steps: int,
        guidance: float,
        record: Recorder | None = None,
    ) -> np.ndarray:
        scheduler: Any = DDIMScheduler.from_config(self.scheduler.config)
        scheduler.set_timesteps(steps, device=self.device)
        images = noise.to(self.device)
        for timestep in scheduler.timesteps:
            stepped = scheduler.step(self.denoiser(images, timestep).sample, timestep, images)
            images = stepped.prev_sample
            if record is not None:
                record(int(timestep), stepped.pred_original_sample)
        return tensor_to_pixels(images.expand(-1, 3, -1, -1))
