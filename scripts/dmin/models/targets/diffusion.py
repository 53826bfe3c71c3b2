"""Targets of denoising diffusion: the noise that was added, or the velocity."""

from __future__ import annotations

import torch
from diffusers import DDIMScheduler, DDPMScheduler

from dmin.models.gate.pipeline import StoredPipeline
from dmin.models.gate.words import reason
from dmin.models.targets.scheduler import STEPS, load_scheduler
from dmin.models.targets.target import Target
from dmin.runtime.errors import UserError


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


def diffusion_target(stored: StoredPipeline) -> Target:
    """Return the target that the scheduler of a pipeline names.

    Raises:
        UserError: as :func:`load_scheduler`; the betas are no schedule, or DDIM does not know it; or the noise is to be
            predicted where nothing but noise is left: with zero terminal SNR, sampling that begins there divides by
            zero.

    Source: Lin et al. 2023, common diffusion noise schedules are flawed.
    """
    scheduler = load_scheduler(DDPMScheduler, stored, tuple(DIFFUSION))
    kind, config = DIFFUSION[scheduler.config.prediction_type], scheduler.config
    _require_schedule(scheduler, stored.path)
    blind = kind is Epsilon and float(scheduler.alphas_cumprod[-1]) == 0
    if blind and config.timestep_spacing != "leading":
        raise UserError(
            f"The scheduler of '{stored.path}' predicts epsilon with zero terminal SNR (rescale_betas_zero_snr) and "
            f"timestep_spacing '{config.timestep_spacing}', so that sampling begins with 0 / 0; set "
            "rescale_betas_zero_snr to false, or take a base of v_prediction."
        )
    return kind(scheduler)


def _require_schedule(scheduler: DDPMScheduler, base: str) -> None:
    """Check that noise grows over 1,000 timesteps, and that DDIM can sample along them."""
    betas = scheduler.betas
    if len(betas) != STEPS or not bool(((betas > 0) & (betas <= 1)).all()):
        raise UserError(
            f"The scheduler of '{base}' has {len(betas)} betas from {float(betas.min()):.3g} to "
            f"{float(betas.max()):.3g}; {STEPS} above 0 and at most 1 make a schedule: correct beta_start, beta_end or "
            "trained_betas."
        )
    try:
        DDIMScheduler.from_config(scheduler.config).set_timesteps(STEPS // 2)
    except (ValueError, NotImplementedError) as error:
        raise UserError(
            f"The scheduler of '{base}' cannot be sampled by DDIM ({reason(error)}); take a base with another schedule."
        ) from error
