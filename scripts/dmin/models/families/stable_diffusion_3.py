"""Stable Diffusion 3: rectified flow of an MMDiT conditioned on two CLIP encoders and, where present, T5."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers import AutoencoderKL, DiffusionPipeline, FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel
from transformers import CLIPTextModelWithProjection, CLIPTokenizer, T5EncoderModel, T5TokenizerFast

from dmin.data.pixels import tensor_to_pixels
from dmin.models.families.family import Conditioning, Recorder
from dmin.models.families.lora import LoraFamily
from dmin.models.families.prompts import beyond
from dmin.models.families.scheduler import load_scheduler
from dmin.runtime.errors import UserError

FAMILY = {
    "kind": "StableDiffusion3",
    "summary": (
        "Stable Diffusion 3: MMDiT on latents, conditioned on two CLIP encoders and, where the pipeline has "
        "it, T5; predicts the flow; sampled by Euler steps with guidance."
    ),
    "objectives": ("training", "reference"),
}

T5_LENGTH = 256


class StableDiffusion3(LoraFamily):
    """A Stable-Diffusion-3-shaped pipeline in the diffusers on-disk format, from a folder or the hub.

    Timestep t in 0..999 counts from low to high noise and stands for the sigma at place ``999 - t`` of the schedule
    that the scheduler was made with; the denoiser is fed ``1000 * sigma``. Sampling uses a scheduler of its own:
    setting timesteps again would shift the sigmas a second time.
    """

    name: ClassVar[str] = "stable_diffusion_3"
    part: ClassVar[str] = "transformer"
    optional: ClassVar[tuple[str, ...]] = ("text_encoder_3", "tokenizer_3")

    def __init__(self, base: str, revision: str | None, device: torch.device, parts: Sequence[str]) -> None:
        self.device = device
        self.scheduler = load_scheduler(FlowMatchEulerDiscreteScheduler, base, revision, ())
        if self.scheduler.config.use_dynamic_shifting:
            raise UserError(f"The scheduler of '{base}' shifts its sigmas by image size; use one with a fixed shift.")
        if "encoders" in parts:
            self._load_encoders(base, revision)
        if "denoiser" in parts:
            self.denoiser = self._frozen(self.load_denoiser(SD3Transformer2DModel, base, revision))

    def _load_encoders(self, base: str, revision: str | None) -> None:
        load = {"revision": revision, "torch_dtype": torch.float32}
        self.vae = self._frozen(AutoencoderKL.from_pretrained(base, subfolder="vae", **load))
        self.clips = []
        for suffix in ("", "_2"):
            encoder = CLIPTextModelWithProjection.from_pretrained(base, subfolder=f"text_encoder{suffix}", **load)
            tokenizer = CLIPTokenizer.from_pretrained(base, subfolder=f"tokenizer{suffix}", revision=revision)
            self.clips.append((tokenizer, self._frozen(encoder)))
        self.t5 = None
        if DiffusionPipeline.load_config(base, revision=revision).get("text_encoder_3", [None])[0]:
            encoder = T5EncoderModel.from_pretrained(base, subfolder="text_encoder_3", **load)
            tokenizer = T5TokenizerFast.from_pretrained(base, subfolder="tokenizer_3", revision=revision)
            self.t5 = (tokenizer, self._frozen(encoder))

    @classmethod
    def load(cls, base: str, revision: str | None, device: torch.device, parts: Sequence[str]) -> StableDiffusion3:
        return cls(base, revision, device, parts)

    @property
    def latent_shape(self) -> tuple[int, ...]:
        config: Any = self.denoiser.config
        return (config.in_channels, config.sample_size, config.sample_size)

    @torch.no_grad()
    def encode_images(self, pixels: torch.Tensor) -> torch.Tensor:
        # The transformer takes patches of 2 x 2 latents.
        unit = 2 ** len(self.vae.config.block_out_channels)
        if pixels.shape[-1] % unit or pixels.shape[-2] % unit:
            raise UserError(
                f"Images of {pixels.shape[-1]} px do not fit this pipeline; set the data set's size to a multiple of "
                f"{unit}."
            )
        mode = self.vae.encode(pixels.to(self.device)).latent_dist.mode()
        return (mode - (self.vae.config.shift_factor or 0.0)) * self.vae.config.scaling_factor

    @torch.no_grad()
    def encode_prompts(self, prompts: Sequence[str]) -> Conditioning:
        """Return ``clip [b, 77, c]``, ``pooled [b, p]`` and, with T5, ``t5 [b, 256, d]``.

        The zeros that fill these up to the transformer's tokens are added when they are used, not stored.
        """
        hidden, pooled = [], []
        for tokenizer, encoder in self.clips:
            output = encoder(self._tokens(tokenizer, prompts, tokenizer.model_max_length), output_hidden_states=True)
            hidden.append(output.hidden_states[-2])
            pooled.append(output.text_embeds)
        conditioning = {"clip": torch.cat(hidden, -1), "pooled": torch.cat(pooled, -1)}
        if self.t5 is not None:
            tokenizer, encoder = self.t5
            conditioning["t5"] = encoder(self._tokens(tokenizer, prompts, T5_LENGTH))[0]
        return conditioning

    def long_prompts(self, prompts: Sequence[str]) -> list[int]:
        if self.t5 is not None:
            return beyond(self.t5[0], prompts, T5_LENGTH)
        tokenizer = self.clips[0][0]
        return beyond(tokenizer, prompts, tokenizer.model_max_length)

    def _tokens(self, tokenizer: Any, prompts: Sequence[str], length: int) -> torch.Tensor:
        tokens = tokenizer(
            list(prompts), padding="max_length", max_length=length, truncation=True, return_tensors="pt"
        ).input_ids
        return tokens.to(self.device)

    def _denoise(self, noisy: torch.Tensor, times: torch.Tensor, conditioning: Conditioning) -> torch.Tensor:
        clip, width = conditioning["clip"], self.denoiser.config.joint_attention_dim
        t5 = conditioning.get("t5")
        if t5 is None:
            t5 = clip.new_zeros(len(clip), T5_LENGTH, width)
        tokens = torch.cat([torch.nn.functional.pad(clip, (0, width - clip.shape[-1])), t5], 1)
        prediction: torch.Tensor = self.denoiser(noisy, tokens, conditioning["pooled"], times).sample
        return prediction

    def predict(
        self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor, conditioning: Conditioning
    ) -> torch.Tensor:
        places = 999 - timesteps.cpu()
        sigma = self.scheduler.sigmas[places].to(latents).view(-1, 1, 1, 1)
        times = self.scheduler.timesteps[places].to(latents)
        return self._denoise((1 - sigma) * latents + sigma * noise, times, conditioning)

    def objective(
        self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor, conditioning: Conditioning
    ) -> torch.Tensor:
        """Return the flow-matching loss, target ``noise - latents``, float32 ``[batch]``."""
        prediction = self.predict(latents, noise, timesteps, conditioning)
        return (prediction.float() - (noise - latents).float()).square().flatten(1).mean(1)

    def reference_objective(
        self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor, conditioning: Conditioning
    ) -> torch.Tensor:
        """Return the loss of DMin's published code, which has the noise for its target, float32 ``[batch]``."""
        prediction = self.predict(latents, noise, timesteps, conditioning)
        return (prediction.float() - noise.float()).square().flatten(1).mean(1)

    def draw_timesteps(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Return training timesteps ``[count]``, logit-normal along the schedule as diffusers trains SD3."""
        places = (torch.randn(count, generator=generator).sigmoid() * 1000).long()
        return 999 - places.clamp(max=999)

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
        scheduler = FlowMatchEulerDiscreteScheduler.from_config(self.scheduler.config)
        scheduler.set_timesteps(steps, device=self.device)
        latents = noise.to(self.device)
        both = {name: torch.cat([unconditional[name].expand_as(value), value]) for name, value in conditioning.items()}
        for timestep, sigma in zip(scheduler.timesteps, scheduler.sigmas[:-1], strict=True):
            prediction = self._denoise(torch.cat([latents, latents]), timestep.expand(2 * len(latents)), both)
            without, given = prediction.chunk(2)
            velocity = without + guidance * (given - without)
            if record is not None:
                # The sampler's sigmas lie between those of training; the nearest one names the step.
                place = int((self.scheduler.sigmas[:1000] - sigma.cpu()).abs().argmin())
                record(999 - place, latents - sigma * velocity)
            latents = scheduler.step(velocity, timestep, latents).prev_sample
        latents = latents / self.vae.config.scaling_factor + (self.vae.config.shift_factor or 0.0)
        return tensor_to_pixels(self.vae.decode(latents).sample)
