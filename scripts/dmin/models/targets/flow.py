"""The target of rectified flow."""

from __future__ import annotations

import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from dmin.models.gate.pipeline import StoredPipeline
from dmin.models.targets.scheduler import STEPS, load_scheduler
from dmin.models.targets.target import Target
from dmin.runtime.errors import UserError
from dmin.runtime.text import shown


class Flow(Target):
    """The direction ``noise - latents`` from ``(1 - sigma) latents + sigma noise``.

    Timestep t stands for the sigma at place ``999 - t`` of the schedule that the scheduler was made with; the denoiser
    is given ``1000 * sigma``. Sampling uses a scheduler of its own: setting timesteps again would shift the sigmas a
    second time.

    Source: Esser et al. 2024, Stable Diffusion 3.
    """

    def noised(
        self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        places = 999 - timesteps.cpu()
        sigma = self.scheduler.sigmas[places].to(latents).view(-1, 1, 1, 1)
        return (1 - sigma) * latents + sigma * noise, self.scheduler.timesteps[places].to(latents)

    def of(self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        return noise - latents

    def reference(self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """Return the noise."""
        return noise

    def preconditioned_weight(self, timesteps: torch.Tensor) -> torch.Tensor:
        """Return ``sigma^2``: the error of the clean latents that the flow leads back to is sigma times its own.

        Source: diffusers, its training script of SD3 (``precondition_outputs``).
        """
        return self.scheduler.sigmas[999 - timesteps.cpu()].to(timesteps.device).square()

    def draw_timesteps(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Return training timesteps ``[count]``, logit-normal along the schedule as diffusers trains SD3."""
        places = (torch.randn(count, generator=generator).sigmoid() * 1000).long()
        return 999 - places.clamp(max=999)

    def nearest(self, sigma: torch.Tensor) -> int:
        """Return the timestep whose sigma is nearest; a sampler's sigmas lie between those of training."""
        return 999 - int((self.scheduler.sigmas[:1000] - sigma.cpu()).abs().argmin())


def flow_target(stored: StoredPipeline) -> Flow:
    """Return the target of a flow-matching pipeline.

    Raises:
        UserError: as :func:`load_scheduler`, or the scheduler shifts its sigmas by image size, samples at random or
            backwards, or has sigmas that are no schedule.
    """
    scheduler = load_scheduler(FlowMatchEulerDiscreteScheduler, stored, ())
    if scheduler.config.use_dynamic_shifting:
        raise UserError(
            f"The scheduler of '{stored.path}' shifts its sigmas by image size; use one with a fixed shift."
        )
    for key in ("invert_sigmas", "stochastic_sampling"):
        if scheduler.config[key]:
            raise UserError(
                f"The scheduler of '{stored.path}' has {key}, which images are not sampled by here; set it to false."
            )
    sigmas = scheduler.sigmas[:STEPS]
    if len(sigmas) != STEPS or not ((sigmas.diff() < 0).all() and sigmas[0] <= 1 and sigmas[-1] > 0):
        raise UserError(
            f"The scheduler of '{stored.path}' has the shift {shown(scheduler.config.shift)}, by which noise does not "
            f"fall over {STEPS} timesteps; it must be finite and above 0."
        )
    return Flow(scheduler)
