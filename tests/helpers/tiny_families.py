"""Random pipelines of a few thousand weights for 16-pixel images, one builder for each family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    DDPMPipeline,
    DDPMScheduler,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    UNet2DModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

from dmin.models.base.autoencoder import build_autoencoder
from dmin.models.base.tokenizer import train_tokenizer

SIZE = 16
PROMPTS = ["a red square", "a blue square", "a green square"]


def build_ddpm(folder: Path, channels: int = 3, weights: bool = True) -> dict[str, Any]:
    """Save an unconditional pipeline, or its configs alone, and return its config entry."""
    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=SIZE,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        attention_head_dim=4,
        norm_num_groups=4,
    )
    DDPMPipeline(unet, DDPMScheduler(num_train_timesteps=1000)).save_pretrained(folder)
    if not weights:
        (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    return {"family": "ddpm", "path": str(folder), "revision": None}


def build_sd3(folder: Path, t5: bool = False, **changes: Any) -> dict[str, Any]:
    """Save a pipeline of an MMDiT, two CLIP encoders and, if asked for, T5, and return its config entry.

    ``changes`` are those to the MMDiT's config.
    """
    torch.manual_seed(0)
    tokenizer = train_tokenizer(PROMPTS, 20, 8)
    vae = build_autoencoder({"channels": [16, 16], "latent_channels": 4}, SIZE)
    vae.register_to_config(scaling_factor=1.5, shift_factor=0.06)
    given = {
        "sample_size": SIZE // 2,
        "patch_size": 2,
        "in_channels": 4,
        "out_channels": 4,
        "num_layers": 2,
        "attention_head_dim": 8,
        "num_attention_heads": 2,
        "joint_attention_dim": 24,
        "caption_projection_dim": 16,
        "pooled_projection_dim": 16,
        "pos_embed_max_size": 8,
    }
    transformer = SD3Transformer2DModel(**{**given, **changes})
    StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae,
        text_encoder=build_clip(tokenizer),
        tokenizer=tokenizer,
        text_encoder_2=build_clip(tokenizer),
        tokenizer_2=tokenizer,
        text_encoder_3=build_t5() if t5 else None,
        tokenizer_3=build_t5_tokenizer() if t5 else None,
    ).save_pretrained(folder)
    return {"family": "stable_diffusion_3", "path": str(folder), "revision": None}


def build_clip(tokenizer: CLIPTokenizer) -> CLIPTextModelWithProjection:
    """Return a text encoder that is 8 values wide."""
    return CLIPTextModelWithProjection(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=8,
            intermediate_size=16,
            projection_dim=8,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=tokenizer.model_max_length,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def build_t5() -> T5EncoderModel:
    """Return a text encoder that is 24 values wide."""
    return T5EncoderModel(T5Config(vocab_size=16, d_model=24, d_kv=8, d_ff=16, num_layers=1, num_heads=2))


def build_t5_tokenizer() -> T5TokenizerFast:
    """Return a tokenizer of the words of ``PROMPTS``."""
    words = sorted({word for prompt in PROMPTS for word in prompt.split()})
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -9.0), ("▁", -2.0), *((f"▁{word}", -1.0) for word in words)]
    return T5TokenizerFast(vocab=pieces, extra_ids=0)
