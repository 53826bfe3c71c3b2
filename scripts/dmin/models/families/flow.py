"""What families of rectified flow share: Euler steps along sigmas that shift with the image's size."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from dmin.models.families.lora import LoraFamily
from dmin.models.families.sampling import Conditioning, Predict, Recorder, Sampling, sample_euler, with_guidance
from dmin.models.targets.flow import Flow, UniformFlow, flow_target


class FlowFamily(LoraFamily):
    """A transformer of rectified flow on latents, trained at uniform timesteps of an unshifted schedule.

    That is how the training scripts of diffusers do for FLUX and all later ones; images are sampled along sigmas that
    are shifted by the number of image tokens where the scheduler says so. A token is a square of ``patch`` latents a
    side.
    """

    target: Flow
    patch: ClassVar[int] = 2

    def load_target(self) -> Flow:
        return flow_target(self.stored, UniformFlow)

    @abstractmethod
    def decode(self, latents: torch.Tensor) -> np.ndarray:
        """Return the images of latents ``[batch, c, h, w]``, uint8 ``[batch, size, size, 3]``."""

    def guided(self, conditioning: Conditioning, unconditional: Conditioning, guidance: float) -> Predict:
        """Return the denoiser's prediction under ``guidance``: classifier-free, of both conditionings."""
        return with_guidance(self.denoise, conditioning, unconditional, guidance)

    def shift(self, tokens: int, steps: int) -> float:
        """Return how far the sigmas of ``steps`` steps on ``tokens`` image tokens are shifted, for the scheduler.

        Source: diffusers, its pipeline of FLUX: linear in the number of tokens.
        """
        config = self.target.scheduler.config
        slope = (config.max_shift - config.base_shift) / (config.max_image_seq_len - config.base_image_seq_len)
        return float(config.base_shift + slope * (tokens - config.base_image_seq_len))

    @torch.no_grad()
    def sample(
        self,
        conditioning: Conditioning,
        unconditional: Conditioning,
        noise: torch.Tensor,
        settings: Sampling,
        record: Recorder | None = None,
    ) -> np.ndarray:
        scheduler: Any = FlowMatchEulerDiscreteScheduler.from_config(self.target.scheduler.config)
        steps = settings["steps"]
        tokens = noise.shape[2] * noise.shape[3] // self.patch**2
        sigmas = np.linspace(1.0, 1 / steps, steps)
        scheduler.set_timesteps(sigmas=sigmas, device=self.device, mu=self.shift(tokens, steps))
        predict = self.guided(conditioning, unconditional, settings["guidance"])
        return self.decode(sample_euler(scheduler, noise.to(self.device), predict, self.target.nearest, record))


def pack(latents: torch.Tensor) -> torch.Tensor:
    """Return latents ``[b, c, h, w]`` as tokens ``[b, h w / 4, 4 c]``, each of two by two latents."""
    batch, channels, height, width = latents.shape
    squares = latents.view(batch, channels, height // 2, 2, width // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return squares.reshape(batch, height * width // 4, 4 * channels)


def unpack(tokens: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Return what :func:`pack` made tokens of, latents of ``height`` and ``width``."""
    batch, _, values = tokens.shape
    squares = tokens.view(batch, height // 2, width // 2, values // 4, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return squares.reshape(batch, values // 4, height, width)
