"""Random pipelines of a few thousand weights for 16-pixel images, of the families after Stable Diffusion 1."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
    FluxPipeline,
    FluxTransformer2DModel,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from tiny_families import PROMPTS, SIZE, build_clip, build_t5, build_t5_tokenizer
from transformers import (
    CLIPTextModel,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3Model,
)

from dmin.models.base.autoencoder import build_autoencoder
from dmin.models.base.tokenizer import train_tokenizer


def build_sdxl(folder: Path, prediction: str = "epsilon") -> dict[str, Any]:
    """Save a pipeline of a UNet, two CLIP encoders and the size's embedding, and return its config entry."""
    torch.manual_seed(0)
    tokenizer = train_tokenizer(PROMPTS, 20, 8)
    unet = UNet2DConditionModel(
        sample_size=SIZE // 2,
        block_out_channels=(16, 32),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=16,
        attention_head_dim=(2, 4),
        transformer_layers_per_block=(1, 2),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 8,
        norm_num_groups=16,
    )
    schedule = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
    StableDiffusionXLPipeline(
        vae=_autoencoder(None),
        text_encoder=CLIPTextModel(build_clip(tokenizer).config),
        tokenizer=tokenizer,
        text_encoder_2=build_clip(tokenizer),
        tokenizer_2=tokenizer,
        unet=unet,
        scheduler=EulerDiscreteScheduler(prediction_type=prediction, timestep_spacing="leading", **schedule),
        add_watermarker=False,
    ).save_pretrained(folder)
    return {"family": "stable_diffusion_xl", "path": str(folder), "revision": None}


def build_flux(folder: Path, guidance: bool = True) -> dict[str, Any]:
    """Save a pipeline as FLUX.1 dev is, or schnell, which has no ``guidance``, and return its config entry."""
    torch.manual_seed(0)
    tokenizer = train_tokenizer(PROMPTS, 20, 8)
    transformer = FluxTransformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=24,
        pooled_projection_dim=8,
        guidance_embeds=guidance,
        axes_dims_rope=(2, 2, 4),
    )
    shifts = {"shift": 3.0, "use_dynamic_shifting": True} if guidance else {"shift": 1.0}
    FluxPipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(**shifts),
        vae=_autoencoder(),
        text_encoder=CLIPTextModel(build_clip(tokenizer).config),
        tokenizer=tokenizer,
        text_encoder_2=build_t5(),
        tokenizer_2=build_t5_tokenizer(),
    ).save_pretrained(folder)
    return {"family": "flux", "path": str(folder), "revision": None}


def _autoencoder(shift: float | None = 0.06) -> AutoencoderKL:
    vae = build_autoencoder({"channels": [16, 16], "latent_channels": 4}, SIZE)
    vae.register_to_config(scaling_factor=1.5, shift_factor=shift)
    return vae


def build_z_image(folder: Path) -> dict[str, Any]:
    """Save a pipeline as Z-Image is, with a Qwen3 of three layers, and return its config entry."""
    torch.manual_seed(0)
    tokenizer = build_chat_tokenizer()
    transformer = ZImageTransformer2DModel(
        in_channels=4, dim=16, n_layers=1, n_refiner_layers=1, n_heads=2, n_kv_heads=2, cap_feat_dim=8,
        axes_dims=[4, 2, 2], axes_lens=[1024, 32, 32],
    )  # fmt: skip
    ZImagePipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=_autoencoder(),
        text_encoder=Qwen3Model(_qwen3(tokenizer, 3)),
        tokenizer=tokenizer,
    ).save_pretrained(folder)
    return {"family": "z_image", "path": str(folder), "revision": None}


def build_flux2(folder: Path, distilled: bool = True) -> dict[str, Any]:
    """Save a pipeline as FLUX.2 klein is and return its config entry."""
    torch.manual_seed(0)
    tokenizer = build_chat_tokenizer()
    vae = AutoencoderKLFlux2(
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(16, 16), layers_per_block=1, latent_channels=4, norm_num_groups=16, sample_size=SIZE,
    )  # fmt: skip
    vae.bn.running_mean.normal_(std=0.1)
    vae.bn.running_var.uniform_(0.5, 1.5)
    transformer = Flux2Transformer2DModel(
        in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=8, num_attention_heads=2,
        joint_attention_dim=24, timestep_guidance_channels=16, axes_dims_rope=(2, 2, 2, 2), guidance_embeds=False,
    )  # fmt: skip
    Flux2KleinPipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=vae,
        text_encoder=Qwen3ForCausalLM(_qwen3(tokenizer, 28)),
        tokenizer=tokenizer,
        is_distilled=distilled,
    ).save_pretrained(folder)
    return {"family": "flux2", "path": str(folder), "revision": None}


def build_qwen_image(folder: Path) -> dict[str, Any]:
    """Save a pipeline as Qwen-Image is and return its config entry."""
    torch.manual_seed(0)
    tokenizer = build_chat_tokenizer()
    vae = AutoencoderKLQwenImage(
        base_dim=4, z_dim=4, dim_mult=[1, 2], num_res_blocks=1, temperal_downsample=[False],
        latents_mean=[0.1, -0.2, 0.3, 0.0], latents_std=[1.5, 2.0, 0.7, 1.0],
    )  # fmt: skip
    transformer = QwenImageTransformer2DModel(
        in_channels=16, out_channels=4, num_layers=1, attention_head_dim=8, num_attention_heads=2,
        joint_attention_dim=8, axes_dims_rope=(2, 2, 4),
    )  # fmt: skip
    text = {key: value for key, value in _qwen3(tokenizer, 2).to_dict().items() if key in _SHARED}
    rope = {"rope_type": "default", "mrope_section": [1, 1], "rope_theta": 1e4}
    config = Qwen2_5_VLConfig(
        text_config={**text, "rope_parameters": rope},
        vision_config={
            "depth": 1, "hidden_size": 8, "intermediate_size": 8, "num_heads": 1, "out_hidden_size": 8,
            "fullatt_block_indexes": [0],
        },
    )  # fmt: skip
    QwenImagePipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0, use_dynamic_shifting=True, shift_terminal=0.02),
        vae=vae,
        text_encoder=Qwen2_5_VLForConditionalGeneration(config),
        tokenizer=tokenizer,
    ).save_pretrained(folder)
    return {"family": "qwen_image", "path": str(folder), "revision": None}


_SHARED = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
    "max_position_embeddings",
)  # fmt: skip


def _qwen3(tokenizer: Qwen2Tokenizer, layers: int) -> Qwen3Config:
    return Qwen3Config(
        vocab_size=len(tokenizer), hidden_size=8, intermediate_size=16, num_hidden_layers=layers, head_dim=4,
        num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=1024,
    )  # fmt: skip


def build_chat_tokenizer() -> Qwen2Tokenizer:
    """Return a tokenizer of bytes, some words, and the marks of a conversation, with Qwen3's template."""
    learned = json.loads(train_tokenizer(PROMPTS, 0, 8).backend_tokenizer.to_str())["model"]
    letters = [letter for letter in learned["vocab"] if len(letter) == 1]
    merges = [("r", "e"), ("re", "d"), ("b", "l"), ("u", "e"), ("bl", "ue")]
    words = [*letters, *("".join(pair) for pair in merges)]
    tokenizer = Qwen2Tokenizer(vocab={word: place for place, word in enumerate(words)}, merges=merges)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = (
        "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
        "<|im_start|>assistant\n{% if not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
    )
    return tokenizer
