"""Stable Diffusion 3: rectified flow of an MMDiT conditioned on two CLIP encoders and, where present, T5."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers import AutoencoderKL, DiffusionPipeline, FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel
from transformers import CLIPTextModelWithProjection, CLIPTokenizer, T5EncoderModel, T5TokenizerFast

from dmin.models.families.latents import decode_latents, encode_latents
from dmin.models.families.lora import LoraFamily
from dmin.models.families.prompts import beyond, tokenise
from dmin.models.families.sampling import Conditioning, Recorder, Sampling, with_guidance
from dmin.models.targets.flow import Flow, flow_target

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
    """A Stable-Diffusion-3-shaped pipeline in the diffusers on-disk format, from a folder or the hub."""

    network = SD3Transformer2DModel
    part: ClassVar[str] = "transformer"
    optional: ClassVar[tuple[str, ...]] = ("text_encoder_3", "tokenizer_3")
    target: Flow

    def load_target(self) -> Flow:
        return flow_target(self.base, self.revision)

    def load_encoders(self) -> None:
        self.vae = self.load_frozen(AutoencoderKL, "vae")
        self.clips = [self._text_encoder(CLIPTextModelWithProjection, CLIPTokenizer, suffix) for suffix in ("", "_2")]
        self.t5 = None
        if DiffusionPipeline.load_config(self.base, revision=self.revision).get("text_encoder_3", [None])[0]:
            self.t5 = self._text_encoder(T5EncoderModel, T5TokenizerFast, "_3")

    def _text_encoder(self, encoder: Any, tokenizer: Any, suffix: str) -> tuple[Any, Any]:
        tokens = tokenizer.from_pretrained(self.base, subfolder=f"tokenizer{suffix}", revision=self.revision)
        return tokens, self.load_frozen(encoder, f"text_encoder{suffix}")

    @torch.no_grad()
    def encode_images(self, pixels: torch.Tensor) -> torch.Tensor:
        return encode_latents(self.vae, pixels, patch=2)

    @torch.no_grad()
    def encode_prompts(self, prompts: Sequence[str]) -> Conditioning:
        """Return ``clip [b, 77, c]``, ``pooled [b, p]`` and, with T5, ``t5 [b, 256, d]``.

        The zeros that fill these up to the transformer's tokens are added when they are used, not stored.
        """
        hidden, pooled = [], []
        for tokenizer, encoder in self.clips:
            tokens = tokenise(tokenizer, prompts, tokenizer.model_max_length)
            output = encoder(tokens.to(self.device), output_hidden_states=True)
            hidden.append(output.hidden_states[-2])
            pooled.append(output.text_embeds)
        conditioning = {"clip": torch.cat(hidden, -1), "pooled": torch.cat(pooled, -1)}
        if self.t5 is not None:
            tokenizer, encoder = self.t5
            conditioning["t5"] = encoder(tokenise(tokenizer, prompts, T5_LENGTH).to(self.device))[0]
        return conditioning

    def long_prompts(self, prompts: Sequence[str]) -> list[int]:
        if self.t5 is not None:
            return beyond(self.t5[0], prompts, T5_LENGTH)
        tokenizer = self.clips[0][0]
        return beyond(tokenizer, prompts, tokenizer.model_max_length)

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
        latents = noise.to(self.device)
        for time, sigma in zip(scheduler.timesteps, scheduler.sigmas[:-1], strict=True):
            velocity = predict(latents, time)
            if record is not None:
                record(self.target.nearest(sigma), latents - sigma * velocity)
            latents = scheduler.step(velocity, time, latents).prev_sample
        return decode_latents(self.vae, latents)
