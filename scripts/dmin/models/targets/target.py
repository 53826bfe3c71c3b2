"""What a denoiser is trained to predict."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch

from dmin.runtime.errors import UserError


class Target(ABC):
    """How latents are noised for a denoiser, and what its output is compared with.

    Latents, noises and targets are ``[batch, c, h, w]``; ``timesteps [batch]`` in 0..999 count from low to high noise.

    Args:
        scheduler: the pipeline's noise schedule.
    """

    def __init__(self, scheduler: Any) -> None:
        self.scheduler = scheduler

    @abstractmethod
    def noised(
        self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the noised latents and the times ``[batch]`` that the denoiser is given with them."""

    @abstractmethod
    def of(self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """Return what the denoiser is trained to predict from the noised latents."""

    def reference(self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """Return what DMin's published code compares the output with, where that is something else.

        Raises:
            UserError: it is what the denoiser is trained to predict.
        """
        raise UserError(
            "gradients.objective is reference, which only stable_diffusion_3 has; other families take training."
        )

    def preconditioned_weight(self, timesteps: torch.Tensor) -> torch.Tensor:
        """Return what the loss of each row ``[batch]`` is multiplied by where the output is preconditioned.

        Raises:
            UserError: this target has no such form.
        """
        raise UserError("preconditioned is set for a base whose family predicts no flow; leave it out.")

    def draw_timesteps(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Return training timesteps ``[count]``, uniform."""
        return torch.randint(0, 1000, (count,), generator=generator)
