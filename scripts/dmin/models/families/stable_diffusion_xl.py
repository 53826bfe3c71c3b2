"""Stable Diffusion XL: latent UNet conditioned on two CLIP encoders, a pooled one, and the image's size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from diffusers import AutoencoderKL, StableDiffusionXLPipeline, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from dmin.models.families.inputs import require_no_mask, require_width
from dmin.models.families.latents import shrinkage
from dmin.models.families.prompts import tokens_of
from dmin.models.families.sampling import Conditioning, Tokens
from dmin.models.families.stable_diffusion import StableDiffusion
from dmin.models.gate.tokens import require_length

FAMILY = {
    "kind": "StableDiffusionXL",
    "summary": (
        "Stable Diffusion XL: UNet on latents, conditioned on two CLIP encoders and the image's size; predicts noise "
        "or velocity; sampled by DDIM with guidance."
    ),
    "known_as": ("sdxl", "stable-diffusion-xl", "stable_diffusion_xl"),
    "pipelines": ("StableDiffusionXLPipeline",),
    "hub_mb": 11_000,
}

# Height and width of the original, the crop's top and left, and height and width of the target.
SIZES = 6


class StableDiffusionXL(StableDiffusion):
    """A Stable-Diffusion-XL-shaped pipeline in the diffusers on-disk format, from a folder or the hub.

    An image counts as uncropped and made at its own size: ``(h, w, 0, 0, h, w)``.

    Source: Podell et al. 2023, SDXL.
    """

    network = UNet2DConditionModel
    part: ClassVar[str] = "unet"
    pipeline = StableDiffusionXLPipeline
    frozen: ClassVar[Mapping[str, Any]] = {
        "vae": AutoencoderKL,
        "text_encoder": CLIPTextModel,
        "tokenizer": CLIPTokenizer,
        "text_encoder_2": CLIPTextModelWithProjection,
        "tokenizer_2": CLIPTokenizer,
    }
    further: ClassVar[tuple[str, ...]] = ("text_time",)

    def load_text_encoders(self) -> None:
        self.clips = []
        for suffix in ("", "_2"):
            encoder = self.load_part(f"text_encoder{suffix}")
            positions = encoder.config.max_position_embeddings
            self.clips.append((self.load_tokenizer(f"tokenizer{suffix}", encoder, positions), encoder))
            require_no_mask(encoder.config, self.base)
        self.tokenizer = self.clips[0][0]
        require_length(self.tokenizer, f"{self.base}/tokenizer", positions)
        config, encoders = self.denoiser_config, [encoder.config for _, encoder in self.clips]
        width = sum(encoder.hidden_size for encoder in encoders)
        require_width(self.base, "cross_attention_dim", config["cross_attention_dim"], width)
        added = SIZES * (config["addition_time_embed_dim"] or 0) + encoders[1].projection_dim
        key = "projection_class_embeddings_input_dim"
        require_width(self.base, key, config[key], added)

    def prompt_tokens(self, prompts: Sequence[str]) -> Tokens:
        # The first tokenizer's length for both, which is that of the second in all that are known.
        return tokens_of([tokenizer for tokenizer, _ in self.clips], prompts, self.tokenizer.model_max_length)

    def encode_tokens(self, tokens: Tokens) -> Conditioning:
        """Return ``prompt_embeds [b, 77, c]``, of both encoders side by side, and ``pooled [b, p]`` of the second."""
        hidden, first = [], []
        for number, (_, encoder) in enumerate(self.clips):
            output = encoder(tokens[f"tokens_{number}"].to(self.device), output_hidden_states=True)
            hidden.append(output.hidden_states[-2])
            first.append(output[0])
        return {"prompt_embeds": torch.cat(hidden, -1), "pooled": first[1]}

    def encode_nothing(self) -> Conditioning:
        """Return zeros where the pipeline says so (``force_zeros_for_empty_prompt``), the empty prompt's otherwise."""
        empty = self.encode_prompts([""])
        if not self.stored.index().get("force_zeros_for_empty_prompt", True):
            return empty
        return {name: torch.zeros_like(value) for name, value in empty.items()}

    def prompt_shapes(self, clip_tokens: int) -> dict[str, tuple[int, ...]]:
        config = self.denoiser_config
        pooled = config["projection_class_embeddings_input_dim"] - SIZES * config["addition_time_embed_dim"]
        return {**super().prompt_shapes(clip_tokens), "pooled": (pooled,)}

    def denoise(self, noised: torch.Tensor, times: torch.Tensor, conditioning: Conditioning) -> torch.Tensor:
        height, width = (side * shrinkage(self.part_config("vae")) for side in noised.shape[2:])
        sizes = noised.new_tensor([height, width, 0, 0, height, width]).expand(len(noised), -1)
        added = {"text_embeds": conditioning["pooled"], "time_ids": sizes}
        prompts = conditioning["prompt_embeds"]
        output: torch.Tensor = self.denoiser(noised, times, prompts, added_cond_kwargs=added).sample
        return output
