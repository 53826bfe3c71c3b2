"""Targets of denoising diffusion: the noise that was added, or the velocity."""

from __future__ import annotations

import torch
from diffusers import DDPMScheduler

from dmin.models.targets.scheduler import load_scheduler
from dmin.models.targets.target import Target


class Epsilon(Target):
    """The noise that was added: ``sqrt(a) latents + sqrt(1 - a) noise`` is given, ``a`` the schedule's at the timestep.

    Source: Ho et al. 2020, DDPM.
    """

    def noised(
        self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return self.scheduler.add_noise(latents, noise, timesteps), timesteps

    def of(self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        return noise


class Velocity(Epsilon):
    """The velocity ``sqrt(a) noise - sqrt(1 - a) latents``, of latents noised as for :class:`Epsilon`.

    Source: Salimans and Ho 2022, progressive distillation.
    """

    def of(self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        velocity: torch.Tensor = self.scheduler.get_velocity(latents, noise, timesteps)
        return velocity


# By the scheduler's prediction_type.
DIFFUSION = {"epsilon": Epsilon, "v_prediction": Velocity}


def diffusion_target(base: str, revision: str | None) -> Target:
    """Return the target that the scheduler of a pipeline names.

    Raises:
        UserError: as :func:`load_scheduler`.
    """
    scheduler = load_scheduler(DDPMScheduler, base, revision, tuple(DIFFUSION))
    return DIFFUSION[scheduler.config.prediction_type](scheduler)
