"""FLUX.1: rectified flow of a transformer on packed latents, conditioned on T5 and a pooled CLIP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers import AutoencoderKL, FluxPipeline, FluxTransformer2DModel
from transformers import CLIPTextModel, CLIPTokenizer, T5EncoderModel, T5TokenizerFast

from dmin.models.families.flow import FlowFamily, pack, unpack
from dmin.models.families.inputs import require_width
from dmin.models.families.latents import decode_latents, encode_latents, latent_side, require_autoencoder, shrinkage
from dmin.models.families.prompts import beyond, tokenise
from dmin.models.families.sampling import Conditioning, Predict, Tokens

FAMILY = {
    "kind": "Flux",
    "summary": (
        "FLUX.1 dev and schnell: transformer on packed latents, conditioned on T5 and a pooled CLIP; predicts the "
        "flow; sampled by Euler steps, the guidance embedded (dev) or none (schnell)."
    ),
    "guidance": 3.5,
    "known_as": ("flux",),
    "pipelines": ("FluxPipeline",),
    "hub_mb": 48_000,
}

T5_LENGTH = 512


class Flux(FlowFamily):
    """A FLUX.1-shaped pipeline in the diffusers on-disk format, from a folder or the hub.

    Source: diffusers, its pipeline and training script of FLUX.
    """

    network = FluxTransformer2DModel
    part: ClassVar[str] = "transformer"
    pipeline = FluxPipeline
    frozen: ClassVar[Mapping[str, Any]] = {
        "vae": AutoencoderKL,
        "text_encoder": CLIPTextModel,
        "tokenizer": CLIPTokenizer,
        "text_encoder_2": T5EncoderModel,
        "tokenizer_2": T5TokenizerFast,
    }

    def load_autoencoder(self) -> None:
        self.vae = self.load_part("vae")
        require_autoencoder(self.vae, self.base)

    def load_text_encoders(self) -> None:
        self.clip = self.load_part("text_encoder")
        self.tokenizer = self.load_tokenizer("tokenizer", self.clip, self.clip.config.max_position_embeddings)
        self.t5 = self.load_part("text_encoder_2")
        self.t5_tokenizer = self.load_tokenizer("tokenizer_2", self.t5, None)
        config = self.denoiser_config
        require_width(self.base, "pooled_projection_dim", config["pooled_projection_dim"], self.clip.config.hidden_size)
        require_width(self.base, "joint_attention_dim", config["joint_attention_dim"], self.t5.config.d_model)

    def latent_shape(self, size: int) -> tuple[int, ...]:
        config = self.part_config("vae")
        side = latent_side(shrinkage(config), size, self.patch)
        return (self.latent_channels(), side, side)

    def channels(self) -> tuple[int, int]:
        taken, given = super().channels()
        return taken // self.patch**2, given // self.patch**2

    @torch.no_grad()
    def encode_images(self, pixels: torch.Tensor) -> torch.Tensor:
        return encode_latents(self.vae, pixels, self.patch)

    def prompt_tokens(self, prompts: Sequence[str]) -> Tokens:
        clip = tokenise(self.tokenizer, prompts, self.tokenizer.model_max_length)
        return {"clip": clip, "t5": tokenise(self.t5_tokenizer, prompts, T5_LENGTH)}

    def encode_tokens(self, tokens: Tokens) -> Conditioning:
        """Return ``pooled [b, p]`` of CLIP and ``t5 [b, 512, d]``."""
        pooled = self.clip(tokens["clip"].to(self.device)).pooler_output
        return {"pooled": pooled, "t5": self.t5(tokens["t5"].to(self.device))[0]}

    def long_prompts(self, prompts: Sequence[str]) -> list[int]:
        return beyond(self.t5_tokenizer, prompts, T5_LENGTH)

    def prompt_shapes(self, clip_tokens: int) -> dict[str, tuple[int, ...]]:
        config = self.denoiser_config
        return {"pooled": (config["pooled_projection_dim"],), "t5": (T5_LENGTH, config["joint_attention_dim"])}

    def denoise(self, noised: torch.Tensor, times: torch.Tensor, conditioning: Conditioning) -> torch.Tensor:
        """Do as :meth:`Family.denoise`; ``conditioning`` may have the ``guidance [batch]`` that is embedded."""
        batch, _, height, width = noised.shape
        given = conditioning.get("guidance", noised.new_full((batch,), self.guidance or 0.0))
        prompts = conditioning["t5"]
        output = self.denoiser(
            hidden_states=pack(noised),
            timestep=times.expand(batch) / 1000,
            guidance=given if self.denoiser.config.guidance_embeds else None,
            pooled_projections=conditioning["pooled"],
            encoder_hidden_states=prompts,
            txt_ids=prompts.new_zeros(prompts.shape[1], 3),
            img_ids=_positions(height // 2, width // 2, noised),
        ).sample
        return unpack(output, height, width)

    def guided(self, conditioning: Conditioning, unconditional: Conditioning, guidance: float) -> Predict:
        """Return the denoiser's prediction with ``guidance`` embedded; a model without an embedding has none."""

        def predict(latents: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
            return self.denoise(
                latents, time, {**conditioning, "guidance": latents.new_full((len(latents),), guidance)}
            )

        return predict

    def decode(self, latents: torch.Tensor) -> np.ndarray:
        return decode_latents(self.vae, latents)


def _positions(height: int, width: int, like: torch.Tensor) -> torch.Tensor:
    """Return the rows ``(0, row, column)`` of ``height`` x ``width`` tokens."""
    rows, columns = torch.arange(height), torch.arange(width)
    return torch.cartesian_prod(torch.zeros(1, dtype=rows.dtype), rows, columns).to(like)
