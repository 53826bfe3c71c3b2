"""Stable Diffusion 1: latent UNet conditioned on CLIP text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DDPMScheduler, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from dmin.data.pixels import tensor_to_pixels
from dmin.models.families.family import Conditioning, Recorder
from dmin.models.families.lora import LoraFamily
from dmin.models.families.prompts import beyond
from dmin.models.families.scheduler import load_scheduler
from dmin.runtime.errors import UserError

FAMILY = {
    "kind": "StableDiffusion",
    "summary": (
        "Stable Diffusion 1: UNet on latents, conditioned on CLIP text; predicts noise or velocity; sampled "
        "by DDIM with guidance."
    ),
    "pndm": True,
}


class StableDiffusion(LoraFamily):
    """A Stable-Diffusion-1-shaped pipeline in the diffusers on-disk format, from a folder or the hub."""

    name: ClassVar[str] = "stable_diffusion"
    part: ClassVar[str] = "unet"

    def __init__(self, base: str, revision: str | None, device: torch.device, parts: Sequence[str]) -> None:
        self.device = device
        self.scheduler = load_scheduler(DDPMScheduler, base, revision, ("epsilon", "v_prediction"))
        load = {"revision": revision, "torch_dtype": torch.float32}
        if "encoders" in parts:
            self.vae = self._frozen(AutoencoderKL.from_pretrained(base, subfolder="vae", **load))
            self.text_encoder = self._frozen(CLIPTextModel.from_pretrained(base, subfolder="text_encoder", **load))
            self.tokenizer = CLIPTokenizer.from_pretrained(base, subfolder="tokenizer", revision=revision)
        if "denoiser" in parts:
            self.denoiser = self._frozen(self.load_denoiser(UNet2DConditionModel, base, revision))

    @classmethod
    def load(cls, base: str, revision: str | None, device: torch.device, parts: Sequence[str]) -> StableDiffusion:
        return cls(base, revision, device, parts)

    @property
    def latent_shape(self) -> tuple[int, ...]:
        config: Any = self.denoiser.config
        return (config.in_channels, config.sample_size, config.sample_size)

    @torch.no_grad()
    def encode_images(self, pixels: torch.Tensor) -> torch.Tensor:
        unit = 2 ** (len(self.vae.config.block_out_channels) - 1)
        if pixels.shape[-1] % unit or pixels.shape[-2] % unit:
            raise UserError(
                f"Images of {pixels.shape[-1]} px do not fit this autoencoder; set the data set's size to a multiple "
                f"of {unit}."
            )
        mode = self.vae.encode(pixels.to(self.device)).latent_dist.mode()
        return mode * self.vae.config.scaling_factor

    @torch.no_grad()
    def encode_prompts(self, prompts: Sequence[str]) -> Conditioning:
        tokens = self.tokenizer(list(prompts), padding="max_length", truncation=True, return_tensors="pt").input_ids
        return {"prompt_embeds": self.text_encoder(tokens.to(self.device)).last_hidden_state}

    def long_prompts(self, prompts: Sequence[str]) -> list[int]:
        return beyond(self.tokenizer, prompts, self.tokenizer.model_max_length)

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
        noisy = self.scheduler.add_noise(latents, noise, timesteps)
        output: torch.Tensor = self.denoiser(noisy, timesteps, conditioning["prompt_embeds"]).sample
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
        scheduler = DDIMScheduler.from_config(self.scheduler.config, clip_sample=False)
        scheduler.set_timesteps(steps, device=self.device)
        latents = noise.to(self.device)
        prompts = torch.cat([unconditional["prompt_embeds"].expand_as(conditioning["prompt_embeds"]),
                             conditioning["prompt_embeds"]])  # fmt: skip
        for timestep in scheduler.timesteps:
            prediction = self.denoiser(torch.cat([latents, latents]), timestep, prompts).sample
            without, given = prediction.chunk(2)
            stepped = scheduler.step(without + guidance * (given - without), timestep, latents)
            latents = stepped.prev_sample
            if record is not None:
                record(int(timestep), stepped.pred_original_sample)
        return tensor_to_pixels(self.vae.decode(latents / self.vae.config.scaling_factor).sample)
