"""FLUX.2 klein: rectified flow of a transformer on patches of latents, conditioned on Qwen3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers import AutoencoderKLFlux2, Flux2KleinPipeline, Flux2Transformer2DModel
from transformers import Qwen2Tokenizer, Qwen3ForCausalLM

from dmin.data.pixels import tensor_to_pixels
from dmin.models.families.chat import USER, beyond_chat, tokenise_chat
from dmin.models.families.flow import FlowFamily
from dmin.models.families.inputs import require_width
from dmin.models.families.latents import latent_side, shrinkage
from dmin.models.families.sampling import Conditioning, Predict, Tokens, require_finite

FAMILY = {
    "kind": "Flux2",
    "summary": (
        "FLUX.2 klein: transformer on patches of latents, conditioned on Qwen3; predicts the flow; sampled by Euler "
        "steps, with guidance where the model is not distilled."
    ),
    "known_as": ("flux2", "flux.2", "flux-2", "flux_2"),
    "pipelines": ("Flux2KleinPipeline",),
    "hub_mb": 37_000,
}

LENGTH = 512
# Qwen3's template adds an empty thought, as asked for without thinking.
TEMPLATE = f"{USER}<think>\n\n</think>\n\n"
# Hidden states that stand side by side.
LAYERS = (9, 18, 27)


class Flux2(FlowFamily):
    """A pipeline of FLUX.2 klein's shape in the diffusers on-disk format, from a folder or the hub.

    A latent is a square of two by two of the autoencoder's, normalised by its running mean and variance.

    Source: diffusers, its pipeline and training script of FLUX.2 klein.
    """

    network = Flux2Transformer2DModel
    part: ClassVar[str] = "transformer"
    pipeline = Flux2KleinPipeline
    frozen: ClassVar[Mapping[str, Any]] = {
        "vae": AutoencoderKLFlux2,
        "text_encoder": Qwen3ForCausalLM,
        "tokenizer": Qwen2Tokenizer,
    }
    patch: ClassVar[int] = 1

    def load_autoencoder(self) -> None:
        self.vae = self.load_part("vae")

    def load_text_encoders(self) -> None:
        self.text_encoder = self.load_part("text_encoder")
        self.tokenizer = self.load_tokenizer("tokenizer", self.text_encoder, None)
        width = len(LAYERS) * self.text_encoder.config.hidden_size
        require_width(self.base, "joint_attention_dim", self.denoiser_config["joint_attention_dim"], width)

    def latent_shape(self, size: int) -> tuple[int, ...]:
        config = self.part_config("vae")
        side = latent_side(shrinkage(config), size, 2) // 2
        return (self.latent_channels(), side, side)

    def latent_channels(self) -> int:
        return 4 * super().latent_channels()

    @torch.no_grad()
    def encode_images(self, pixels: torch.Tensor) -> torch.Tensor:
        for side in pixels.shape[2:]:
            latent_side(shrinkage(self.vae.config), side, 2)
        mode: torch.Tensor = self.vae.encode(pixels.to(self.device)).latent_dist.mode()
        batch, channels, height, width = mode.shape
        squares = mode.view(batch, channels, height // 2, 2, width // 2, 2).permute(0, 1, 3, 5, 2, 4)
        mean, deviation = self._statistics()
        latents = (squares.reshape(batch, 4 * channels, height // 2, width // 2) - mean) / deviation
        require_finite(latents, "the autoencoder's latents")
        return latents

    def _statistics(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and deviation of the autoencoder's patches, each ``[1, 4 c, 1, 1]``."""
        norm = self.vae.bn
        variance = norm.running_var + self.vae.config.batch_norm_eps
        return norm.running_mean.view(1, -1, 1, 1), variance.sqrt().view(1, -1, 1, 1)

    def prompt_tokens(self, prompts: Sequence[str]) -> Tokens:
        tokens, mask = tokenise_chat(self.tokenizer, TEMPLATE, prompts, LENGTH)
        return {"tokens": tokens, "mask": mask}

    def encode_tokens(self, tokens: Tokens) -> Conditioning:
        """Return ``prompt [b, 512, 3 d]``; what fills a prompt up counts, as in the pipeline."""
        given, mask = tokens["tokens"].to(self.device), tokens["mask"].to(self.device)
        # The model without its head, whose answer would be as wide as the vocabulary.
        output = self.text_encoder.model(input_ids=given, attention_mask=mask, output_hidden_states=True)
        return {"prompt": torch.cat([output.hidden_states[layer] for layer in LAYERS], -1)}

    def long_prompts(self, prompts: Sequence[str]) -> list[int]:
        return beyond_chat(self.tokenizer, TEMPLATE, prompts, LENGTH)

    def prompt_shapes(self, clip_tokens: int) -> dict[str, tuple[int, ...]]:
        return {"prompt": (LENGTH, self.denoiser_config["joint_attention_dim"])}

    def denoise(self, noised: torch.Tensor, times: torch.Tensor, conditioning: Conditioning) -> torch.Tensor:
        batch, channels, height, width = noised.shape
        prompts = conditioning["prompt"]
        output = self.denoiser(
            hidden_states=noised.flatten(2).transpose(1, 2),
            timestep=times.expand(batch) / 1000,
            encoder_hidden_states=prompts,
            txt_ids=_positions(1, 1, prompts.shape[1], noised.device),
            img_ids=_positions(height, width, 1, noised.device),
        ).sample
        return output.transpose(1, 2).reshape(batch, channels, height, width)

    def guided(self, conditioning: Conditioning, unconditional: Conditioning, guidance: float) -> Predict:
        """Return the denoiser's prediction under ``guidance``; that of a distilled model has none."""
        if self.stored.index().get("is_distilled"):
            return lambda latents, time: self.denoise(latents, time, conditioning)
        return super().guided(conditioning, unconditional, guidance)

    def shift(self, tokens: int, steps: int) -> float:
        """Return the shift of FLUX.2: linear in the tokens at 10 and at 200 steps, and linear in the steps between.

        Source: diffusers, its pipeline of FLUX.2.
        """
        many = 0.00016927 * tokens + 0.45666666
        if tokens > 4300:
            return many
        few = 8.73809524e-05 * tokens + 1.89833333
        slope = (many - few) / 190
        return slope * steps + many - 200 * slope

    def decode(self, latents: torch.Tensor) -> np.ndarray:
        mean, deviation = self._statistics()
        batch, channels, height, width = latents.shape
        squares = (latents * deviation + mean).view(batch, channels // 4, 2, 2, height, width)
        joined = squares.permute(0, 1, 4, 2, 5, 3).reshape(batch, channels // 4, 2 * height, 2 * width)
        pixels = self.vae.decode(joined).sample
        require_finite(pixels, "the autoencoder's pixels")
        return tensor_to_pixels(pixels)


def _positions(height: int, width: int, length: int, device: torch.device) -> torch.Tensor:
    """Return the rows ``(0, row, column, place)`` of tokens."""
    axes = [torch.arange(count, device=device) for count in (1, height, width, length)]
    return torch.cartesian_prod(*axes)
