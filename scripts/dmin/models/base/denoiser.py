"""Train a small text-conditioned UNet and its CLIP text encoder together, from scratch."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import PNDMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from dmin.models.training.fit import fit
from dmin.models.training.state import TrainingState
from dmin.runtime.deadline import StopRequest
from dmin.runtime.seeds import derive_generator


def build_text_encoder(config: Mapping[str, Any], tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Build an untrained CLIP text encoder for ``tokenizer``."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=config["text_width"],
            intermediate_size=4 * config["text_width"],
            projection_dim=config["text_width"],
            num_hidden_layers=config["text_layers"],
            num_attention_heads=4,
            max_position_embeddings=tokenizer.model_max_length,
            hidden_act="quick_gelu",
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def build_unet(config: Mapping[str, Any], latents: torch.Size) -> UNet2DConditionModel:
    """Build an untrained two-level UNet for latents ``[count, c, size, size]``, attention at the lower resolution."""
    return UNet2DConditionModel(
        sample_size=latents[-1],
        in_channels=latents[1],
        out_channels=latents[1],
        block_out_channels=tuple(config["channels"]),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=config["text_width"],
        attention_head_dim=4,
        norm_num_groups=16,
    )


def build_scheduler() -> PNDMScheduler:
    """Return Stable Diffusion 1's scheduler."""
    return PNDMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        skip_prk_steps=True,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="epsilon",
    )


def train_denoiser(
    latents: torch.Tensor,
    tokens: torch.Tensor,
    weights: torch.Tensor,
    tokenizer: CLIPTokenizer,
    config: Mapping[str, Any],
    seed: int,
    state_folder: Path,
    digest: str,
    initial: tuple[UNet2DConditionModel, CLIPTextModel] | None = None,
    request: StopRequest | None = None,
) -> tuple[UNet2DConditionModel, CLIPTextModel]:
    """Train a UNet and a text encoder on latents ``[count, c, size, size]`` and tokens ``[count, length]``.

    Rows are drawn with ``weights`` ``[count]``; the loss is the mean squared error of the predicted noise, the prompt
    is dropped for a share of the rows so that classifier-free guidance works, and the returned weights are an
    exponential moving average. Training starts from ``initial`` where it is given. The finished state stays in
    ``state_folder``, as the autoencoder's does.
    """
    torch.manual_seed(seed)
    scheduler = build_scheduler()
    unet, text = initial or (build_unet(config, latents.shape), build_text_encoder(config, tokenizer))
    trained = torch.nn.ModuleDict({"unet": unet, "text": text}).requires_grad_(True)
    average = copy.deepcopy(trained).requires_grad_(False).eval()
    tensors = {
        f"{role}.{name}": value
        for role, module in (("trained", trained), ("average", average))
        for name, value in module.state_dict().items()
    }
    empty = tokenizer("", padding="max_length", truncation=True, return_tensors="pt").input_ids[0]
    size = config["batch_size"]
    trained.train()

    def loss_at(step: int) -> torch.Tensor:
        generator = derive_generator(seed, "denoiser", step)
        index = torch.multinomial(weights, size, replacement=True, generator=generator)
        noise = torch.randn(latents[index].shape, generator=generator)
        timesteps = torch.randint(0, 1000, (size,), generator=generator)
        prompts = tokens[index].clone()
        prompts[torch.rand(size, generator=generator) < config["prompt_dropout"]] = empty
        noisy = scheduler.add_noise(latents[index], noise, timesteps)
        prediction = trained["unet"](noisy, timesteps, trained["text"](prompts).last_hidden_state).sample
        return F.mse_loss(prediction, noise)

    def average_weights(step: int) -> None:
        decay = min(config["ema_decay"], (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(trained.parameters()), 1 - decay)

    state = TrainingState(state_folder, digest)
    fit("denoiser", list(trained.parameters()), loss_at, config, state, tensors, average_weights, request)
    return average["unet"], average["text"]
