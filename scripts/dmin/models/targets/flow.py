"""The target of rectified flow."""

from __future__ import annotations

from typing import ClassVar

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

    shifts: ClassVar[bool] = False

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


class UniformFlow(Flow):
    """The same, trained at uniform timesteps; the schedule may shift by image size, which training leaves out.

    Source: diffusers, its training scripts of FLUX, FLUX.2, Z-Image and Qwen-Image.
    """

    shifts: ClassVar[bool] = True

    def draw_timesteps(self, count: int, generator: torch.Generator) -> torch.Tensor:
        return Target.draw_timesteps(self, count, generator)


def flow_target(stored: StoredPipeline, kind: type[Flow] = Flow) -> Flow:
    """Return the target of a flow-matching pipeline.

    Raises:
        UserError: as :func:`load_scheduler`, or the scheduler samples at random or backwards, has sigmas that are no
            schedule, or shifts them by image size where the ``kind`` of target does not.
    """
    scheduler = load_scheduler(FlowMatchEulerDiscreteScheduler, stored, ())
    if scheduler.config.use_dynamic_shifting and not kind.shifts:
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
    return kind(scheduler)
