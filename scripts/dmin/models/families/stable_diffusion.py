"""Stable Diffusion 1: latent UNet conditioned on CLIP text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from dmin.models.families.inputs import require_no_mask, require_width
from dmin.models.families.latents import decode_latents, encode_latents, latent_side, require_autoencoder, shrinkage
from dmin.models.families.lora import LoraFamily
from dmin.models.families.prompts import beyond, tokenise
from dmin.models.families.sampling import Conditioning, Recorder, Sampling, Tokens, sample_ddim, with_guidance
from dmin.models.targets.diffusion import diffusion_target
from dmin.models.targets.target import Target

FAMILY = {
    "kind": "StableDiffusion",
    "summary": (
        "Stable Diffusion 1: UNet on latents, conditioned on CLIP text; predicts noise or velocity; sampled "
        "by DDIM with guidance."
    ),
    "pndm": True,
    "pipelines": ("StableDiffusionPipeline",),
    "known_as": ("sd_v1", "sd_v2", "sd_1", "sd_2", "sd1", "sd2", "stable-diffusion-v1", "stable-diffusion-v2"),
}


class StableDiffusion(LoraFamily):
    """A Stable-Diffusion-1-shaped pipeline in the diffusers on-disk format, from a folder or the hub."""

    network = UNet2DConditionModel
    part: ClassVar[str] = "unet"
    pipeline = StableDiffusionPipeline
    frozen: ClassVar[Mapping[str, Any]] = {
        "vae": AutoencoderKL,
        "text_encoder": CLIPTextModel,
        "tokenizer": CLIPTokenizer,
    }

    def load_target(self) -> Target:
        return diffusion_target(self.stored)

    def load_autoencoder(self) -> None:
        self.vae = self.load_part("vae")
        require_autoencoder(self.vae, self.base)

    def load_text_encoders(self) -> None:
        self.text_encoder = self.load_part("text_encoder")
        positions = self.text_encoder.config.max_position_embeddings
        self.tokenizer = self.load_tokenizer("tokenizer", self.text_encoder, positions)
        require_no_mask(self.text_encoder.config, self.base)
        config = self.denoiser_config
        key = "encoder_hid_dim" if config.get("encoder_hid_dim") else "cross_attention_dim"
        require_width(self.base, key, config[key], self.text_encoder.config.hidden_size)

    def latent_shape(self, size: int) -> tuple[int, ...]:
        config = self.part_config("vae")
        side = latent_side(shrinkage(config), size, patch=1)
        return (self.latent_channels(), side, side)

    @torch.no_grad()
    def encode_images(self, pixels: torch.Tensor) -> torch.Tensor:
        return encode_latents(self.vae, pixels, patch=1)

    def prompt_tokens(self, prompts: Sequence[str]) -> Tokens:
        return {"tokens": tokenise(self.tokenizer, prompts, self.tokenizer.model_max_length)}

    def encode_tokens(self, tokens: Tokens) -> Conditioning:
        return {"prompt_embeds": self.text_encoder(tokens["tokens"].to(self.device)).last_hidden_state}

    def long_prompts(self, prompts: Sequence[str]) -> list[int]:
        return beyond(self.tokenizer, prompts, self.tokenizer.model_max_length)

    def prompt_shapes(self, clip_tokens: int) -> dict[str, tuple[int, ...]]:
        config = self.denoiser_config
        return {"prompt_embeds": (clip_tokens, config.get("encoder_hid_dim") or config["cross_attention_dim"])}

    def denoise(self, noised: torch.Tensor, times: torch.Tensor, conditioning: Conditioning) -> torch.Tensor:
        output: torch.Tensor = self.denoiser(noised, times, conditioning["prompt_embeds"]).sample
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
        scheduler: Any = DDIMScheduler.from_config(self.target.scheduler.config, clip_sample=False)
        scheduler.set_timesteps(settings["steps"], device=self.device)
        predict = with_guidance(self.denoise, conditioning, unconditional, settings["guidance"])
        return decode_latents(self.vae, sample_ddim(scheduler, noise.to(self.device), predict, record))
