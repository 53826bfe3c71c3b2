"""Z-Image: rectified flow of a single-stream transformer on latents, conditioned on Qwen3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers import AutoencoderKL, ZImagePipeline, ZImageTransformer2DModel
from transformers import Qwen2Tokenizer, Qwen3Model

from dmin.models.families.chat import USER, beyond_chat, pack_rows, tokenise_chat
from dmin.models.families.flow import FlowFamily
from dmin.models.families.inputs import require_width
from dmin.models.families.latents import decode_latents, encode_latents, latent_side, require_autoencoder, shrinkage
from dmin.models.families.sampling import Conditioning, Tokens

FAMILY = {
    "kind": "ZImage",
    "summary": (
        "Z-Image: transformer on latents, conditioned on Qwen3; predicts the flow; sampled by Euler steps with "
        "guidance, 1 for the distilled model."
    ),
    "known_as": ("zimage", "z-image", "z_image"),
    "pipelines": ("ZImagePipeline",),
    "hub_mb": 25_000,
}

LENGTH = 512


class ZImage(FlowFamily):
    """A Z-Image-shaped pipeline in the diffusers on-disk format, from a folder or the hub.

    Its transformer is given the share of noise that is gone, and answers with the flow's negative.

    Source: diffusers, its pipeline and training script of Z-Image.
    """

    network = ZImageTransformer2DModel
    part: ClassVar[str] = "transformer"
    pipeline = ZImagePipeline
    frozen: ClassVar[Mapping[str, Any]] = {
        "vae": AutoencoderKL,
        "text_encoder": Qwen3Model,
        "tokenizer": Qwen2Tokenizer,
    }

    def load_autoencoder(self) -> None:
        self.vae = self.load_part("vae")
        require_autoencoder(self.vae, self.base)

    def load_text_encoders(self) -> None:
        self.text_encoder = self.load_part("text_encoder")
        self.tokenizer = self.load_tokenizer("tokenizer", self.text_encoder, None)
        width = self.text_encoder.config.hidden_size
        require_width(self.base, "cap_feat_dim", self.denoiser_config["cap_feat_dim"], width)

    def latent_shape(self, size: int) -> tuple[int, ...]:
        config = self.part_config("vae")
        side = latent_side(shrinkage(config), size, self.patch)
        return (self.latent_channels(), side, side)

    def channels(self) -> tuple[int, int]:
        return (self.denoiser_config["in_channels"],) * 2

    @torch.no_grad()
    def encode_images(self, pixels: torch.Tensor) -> torch.Tensor:
        return encode_latents(self.vae, pixels, self.patch)

    def prompt_tokens(self, prompts: Sequence[str]) -> Tokens:
        tokens, mask = tokenise_chat(self.tokenizer, USER, prompts, LENGTH)
        return {"tokens": tokens, "mask": mask}

    def encode_tokens(self, tokens: Tokens) -> Conditioning:
        """Return ``prompt [b, 512, d]``, the last hidden states but one, and how many ``tokens [b]`` of it count."""
        given, mask = tokens["tokens"].to(self.device), tokens["mask"].to(self.device)
        output = self.text_encoder(input_ids=given, attention_mask=mask, output_hidden_states=True)
        rows, counts = pack_rows(output.hidden_states[-2], mask)
        return {"prompt": rows, "tokens": counts}

    def long_prompts(self, prompts: Sequence[str]) -> list[int]:
        return beyond_chat(self.tokenizer, USER, prompts, LENGTH)

    def prompt_shapes(self, clip_tokens: int) -> dict[str, tuple[int, ...]]:
        return {"prompt": (LENGTH, self.denoiser_config["cap_feat_dim"]), "tokens": ()}

    def denoise(self, noised: torch.Tensor, times: torch.Tensor, conditioning: Conditioning) -> torch.Tensor:
        images = list(noised.unsqueeze(2).unbind())
        counts = conditioning["tokens"].tolist()
        prompts = [row[:count] for row, count in zip(conditioning["prompt"], counts, strict=True)]
        gone = (1000 - times.expand(len(noised))) / 1000
        return -torch.stack(self.denoiser(images, gone, prompts, return_dict=False)[0]).squeeze(2)

    def decode(self, latents: torch.Tensor) -> np.ndarray:
        return decode_latents(self.vae, latents)
