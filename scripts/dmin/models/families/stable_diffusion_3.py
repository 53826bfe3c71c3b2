"""Stable Diffusion 3: rectified flow of an MMDiT conditioned on two CLIP encoders and, where present, T5."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from transformers import CLIPTextModelWithProjection, CLIPTokenizer, T5EncoderModel, T5TokenizerFast

from dmin.models.families.inputs import require_width
from dmin.models.families.latents import decode_latents, encode_latents, latent_side, require_autoencoder, shrinkage
from dmin.models.families.lora import LoraFamily
from dmin.models.families.prompts import beyond, tokenise, tokens_of
from dmin.models.families.sampling import Conditioning, Recorder, Sampling, Tokens, sample_euler, with_guidance
from dmin.models.gate.tokens import require_length
from dmin.models.targets.flow import Flow, flow_target
from dmin.runtime.errors import UserError

FAMILY = {
    "kind": "StableDiffusion3",
    "summary": (
        "Stable Diffusion 3: MMDiT on latents, conditioned on two CLIP encoders and, where the pipeline has "
        "it, T5; predicts the flow; sampled by Euler steps with guidance."
    ),
    "objectives": ("training", "reference"),
    "preconditions": True,
    "pipelines": ("StableDiffusion3Pipeline",),
    "hub_mb": 33_000,
    "known_as": ("sd3", "sd_3", "stable-diffusion-3", "stable_diffusion_3"),
}

T5_LENGTH = 256


class StableDiffusion3(LoraFamily):
    """A Stable-Diffusion-3-shaped pipeline in the diffusers on-disk format, from a folder or the hub."""

    network = SD3Transformer2DModel
    part: ClassVar[str] = "transformer"
    pipeline = StableDiffusion3Pipeline
    frozen: ClassVar[Mapping[str, Any]] = {
        "vae": AutoencoderKL,
        "text_encoder": CLIPTextModelWithProjection,
        "tokenizer": CLIPTokenizer,
        "text_encoder_2": CLIPTextModelWithProjection,
        "tokenizer_2": CLIPTokenizer,
        "text_encoder_3": T5EncoderModel,
        "tokenizer_3": T5TokenizerFast,
    }
    optional: ClassVar[tuple[str, ...]] = ("text_encoder_3", "tokenizer_3")
    target: Flow

    def load_target(self) -> Flow:
        return flow_target(self.stored)

    def load_autoencoder(self) -> None:
        self.vae = self.load_part("vae")
        require_autoencoder(self.vae, self.base)

    def load_text_encoders(self) -> None:
        self.clips = [self._clip(suffix) for suffix in ("", "_2")]
        self.t5 = None
        if (self.stored.index().get("text_encoder_3") or [None])[0]:
            encoder = self.load_part("text_encoder_3")
            self.t5 = self.load_tokenizer("tokenizer_3", encoder, None), encoder
        self._require_widths()

    def _require_widths(self) -> None:
        """Refuse encoders whose values do not fit the transformer, or each other."""
        config, encoders = self.denoiser_config, [encoder.config for _, encoder in self.clips]
        pooled = sum(encoder.projection_dim for encoder in encoders)
        require_width(self.base, "pooled_projection_dim", config["pooled_projection_dim"], pooled)
        width = config["joint_attention_dim"]
        if self.t5 is not None:
            require_width(self.base, "joint_attention_dim", width, self.t5[1].config.d_model)
        # Narrower ones are filled up with zeros.
        clip = sum(encoder.hidden_size for encoder in encoders)
        require_width(self.base, "joint_attention_dim", width, max(width, clip))
        require_length(self.clips[0][0], f"{self.base}/tokenizer", encoders[1].max_position_embeddings)

    def _clip(self, suffix: str) -> tuple[Any, Any]:
        encoder = self.load_part(f"text_encoder{suffix}")
        positions = encoder.config.max_position_embeddings
        return self.load_tokenizer(f"tokenizer{suffix}", encoder, positions), encoder

    def latent_shape(self, size: int) -> tuple[int, ...]:
        config, largest = self.part_config("vae"), self.denoiser_config["pos_embed_max_size"]
        side = latent_side(shrinkage(config), size, patch=2)
        if side // 2 > largest:
            raise UserError(
                f"Images of {size} px do not fit this transformer; set the data set's size to at most "
                f"{size // (side // 2) * largest}."
            )
        return (self.latent_channels(), side, side)

    @torch.no_grad()
    def encode_images(self, pixels: torch.Tensor) -> torch.Tensor:
        for side in pixels.shape[2:]:
            self.latent_shape(side)
        return encode_latents(self.vae, pixels, patch=2)

    def prompt_tokens(self, prompts: Sequence[str]) -> Tokens:
        # The first tokenizer's length for both, as diffusers has it.
        length = self.clips[0][0].model_max_length
        tokens = tokens_of([tokenizer for tokenizer, _ in self.clips], prompts, length)
        if self.t5 is not None:
            tokens["t5"] = tokenise(self.t5[0], prompts, T5_LENGTH)
        return tokens

    def encode_tokens(self, tokens: Tokens) -> Conditioning:
        """Return ``clip [b, 77, c]``, ``pooled [b, p]`` and, with T5, ``t5 [b, 256, d]``.

        The zeros that fill these up to the transformer's tokens are added when they are used, not stored.
        """
        hidden, pooled = [], []
        for number, (_, encoder) in enumerate(self.clips):
            output = encoder(tokens[f"tokens_{number}"].to(self.device), output_hidden_states=True)
            hidden.append(output.hidden_states[-2])
            pooled.append(output.text_embeds)
        conditioning = {"clip": torch.cat(hidden, -1), "pooled": torch.cat(pooled, -1)}
        if self.t5 is not None:
            conditioning["t5"] = self.t5[1](tokens["t5"].to(self.device))[0]
        return conditioning

    def long_prompts(self, prompts: Sequence[str]) -> list[int]:
        if self.t5 is not None:
            return beyond(self.t5[0], prompts, T5_LENGTH)
        tokenizer = self.clips[0][0]
        return beyond(tokenizer, prompts, tokenizer.model_max_length)

    def prompt_shapes(self, clip_tokens: int) -> dict[str, tuple[int, ...]]:
        config = self.denoiser_config
        width = config["joint_attention_dim"]
        return {
            "clip": (clip_tokens, width),
            "pooled": (config["pooled_projection_dim"],),
            "t5": (T5_LENGTH, width),
        }

    def denoise(self, noised: torch.Tensor, times: torch.Tensor, conditioning: Conditioning) -> torch.Tensor:
        clip, width = conditioning["clip"], self.denoiser.config.joint_attention_dim
        t5 = conditioning.get("t5")
        if t5 is None:
            t5 = clip.new_zeros(len(clip), T5_LENGTH, width)
        tokens = torch.cat([torch.nn.functional.pad(clip, (0, width - clip.shape[-1])), t5], 1)
        output: torch.Tensor = self.denoiser(noised, tokens, conditioning["pooled"], times).sample
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
        scheduler: Any = FlowMatchEulerDiscreteScheduler.from_config(self.target.scheduler.config)
        scheduler.set_timesteps(settings["steps"], device=self.device)
        predict = with_guidance(self.denoise, conditioning, unconditional, settings["guidance"])
        latents = sample_euler(scheduler, noise.to(self.device), predict, self.target.nearest, record)
        return decode_latents(self.vae, latents)
