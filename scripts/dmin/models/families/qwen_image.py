"""Qwen-Image: rectified flow of a transformer on packed latents, conditioned on Qwen2.5-VL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers import AutoencoderKLQwenImage, QwenImagePipeline, QwenImageTransformer2DModel
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer

from dmin.data.pixels import tensor_to_pixels
from dmin.models.families.chat import USER, beyond_chat, pack_rows, tokenise_chat
from dmin.models.families.flow import FlowFamily, pack, unpack
from dmin.models.families.inputs import require_width
from dmin.models.families.latents import latent_side
from dmin.models.families.sampling import Conditioning, Predict, Tokens, require_finite

FAMILY = {
    "kind": "QwenImage",
    "summary": (
        "Qwen-Image: transformer on packed latents, conditioned on Qwen2.5-VL; predicts the flow; sampled by Euler "
        "steps with guidance that keeps the length of each token."
    ),
    "known_as": ("qwen_image", "qwen-image", "qwenimage"),
    "pipelines": ("QwenImagePipeline",),
    "hub_mb": 82_000,
}

LENGTH = 512
# The words before the prompt, whose tokens are cut off again.
TEMPLATE = (
    "<|im_start|>system\nDescribe the image by detailing the color, shape, size, texture, quantity, text, spatial "
    f"relationships of the objects and background:<|im_end|>\n{USER}"
)
SKIPPED = 34


class QwenImage(FlowFamily):
    """A Qwen-Image-shaped pipeline in the diffusers on-disk format, from a folder or the hub.

    Source: diffusers, its pipeline and training script of Qwen-Image.
    """

    network = QwenImageTransformer2DModel
    part: ClassVar[str] = "transformer"
    pipeline = QwenImagePipeline
    frozen: ClassVar[Mapping[str, Any]] = {
        "vae": AutoencoderKLQwenImage,
        "text_encoder": Qwen2_5_VLForConditionalGeneration,
        "tokenizer": Qwen2Tokenizer,
    }

    def load_autoencoder(self) -> None:
        self.vae = self.load_part("vae")

    def load_text_encoders(self) -> None:
        self.text_encoder = self.load_part("text_encoder")
        config = self.text_encoder.config.get_text_config()
        self.tokenizer = self.load_tokenizer("tokenizer", self.text_encoder, None)
        require_width(self.base, "joint_attention_dim", self.denoiser_config["joint_attention_dim"], config.hidden_size)

    def _shrinkage(self) -> int:
        return int(2 ** len(self.part_config("vae")["temperal_downsample"]))

    def latent_shape(self, size: int) -> tuple[int, ...]:
        side = latent_side(self._shrinkage(), size, self.patch)
        return (self.latent_channels(), side, side)

    def latent_channels(self) -> int:
        channels: int = self.part_config("vae")["z_dim"]
        return channels

    def channels(self) -> tuple[int, int]:
        config = self.denoiser_config
        return config["in_channels"] // self.patch**2, config["out_channels"]

    def _statistics(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and deviation of the autoencoder's latents, each ``[1, c, 1, 1, 1]``."""
        config = self.vae.config
        mean, deviation = (
            torch.tensor(value, device=self.device).view(1, -1, 1, 1, 1)
            for value in (config.latents_mean, config.latents_std)
        )
        return mean, deviation

    @torch.no_grad()
    def encode_images(self, pixels: torch.Tensor) -> torch.Tensor:
        for side in pixels.shape[2:]:
            latent_side(self._shrinkage(), side, self.patch)
        # The autoencoder is that of films, of which an image is the only frame.
        mode: torch.Tensor = self.vae.encode(pixels.to(self.device).unsqueeze(2)).latent_dist.mode()
        mean, deviation = self._statistics()
        latents = ((mode - mean) / deviation).squeeze(2)
        require_finite(latents, "the autoencoder's latents")
        return latents

    def prompt_tokens(self, prompts: Sequence[str]) -> Tokens:
        tokens, mask = tokenise_chat(self.tokenizer, TEMPLATE, prompts, LENGTH + SKIPPED)
        return {"tokens": tokens, "mask": mask}

    def encode_tokens(self, tokens: Tokens) -> Conditioning:
        """Return ``prompt [b, 512, d]``, the last hidden states, and how many ``tokens [b]`` of it count."""
        given, mask = tokens["tokens"].to(self.device), tokens["mask"].to(self.device)
        # The model without its head, whose answer would be as wide as the vocabulary.
        output = self.text_encoder.model(input_ids=given, attention_mask=mask, output_hidden_states=True)
        rows, counts = pack_rows(output.hidden_states[-1], mask, SKIPPED)
        return {"prompt": rows, "tokens": counts}

    def long_prompts(self, prompts: Sequence[str]) -> list[int]:
        return beyond_chat(self.tokenizer, TEMPLATE, prompts, LENGTH + SKIPPED)

    def prompt_shapes(self, clip_tokens: int) -> dict[str, tuple[int, ...]]:
        return {"prompt": (LENGTH, self.denoiser_config["joint_attention_dim"]), "tokens": ()}

    def denoise(self, noised: torch.Tensor, times: torch.Tensor, conditioning: Conditioning) -> torch.Tensor:
        batch, _, height, width = noised.shape
        counts = conditioning["tokens"]
        longest = int(counts.max())
        places = torch.arange(longest, device=counts.device)
        output = self.denoiser(
            hidden_states=pack(noised),
            timestep=times.expand(batch) / 1000,
            encoder_hidden_states=conditioning["prompt"][:, :longest],
            encoder_hidden_states_mask=(places < counts[:, None]).to(noised.device),
            img_shapes=[[(1, height // 2, width // 2)]] * batch,
        ).sample
        return unpack(output, height, width)

    def guided(self, conditioning: Conditioning, unconditional: Conditioning, guidance: float) -> Predict:
        """Return the denoiser's prediction under ``guidance``, each token as long as without."""
        nothing = {name: value.expand_as(conditioning[name]) for name, value in unconditional.items()}

        def predict(latents: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
            given, without = (pack(self.denoise(latents, time, each)) for each in (conditioning, nothing))
            guided = without + guidance * (given - without)
            lengths = given.norm(dim=-1, keepdim=True) / guided.norm(dim=-1, keepdim=True)
            return unpack(guided * lengths, *latents.shape[2:])

        return predict

    def decode(self, latents: torch.Tensor) -> np.ndarray:
        mean, deviation = self._statistics()
        pixels = self.vae.decode(latents.unsqueeze(2) * deviation + mean).sample[:, :, 0]
        require_finite(pixels, "the autoencoder's pixels")
        return tensor_to_pixels(pixels)
