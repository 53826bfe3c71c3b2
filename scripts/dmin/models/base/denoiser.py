"""Train a small text-conditioned UNet and its CLIP text encoder together, from scratch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers import PNDMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from dmin.models.training.fit import Minimisation, fit
from dmin.models.training.pace import TrainingPace
from dmin.models.training.state import TrainingState
from dmin.models.training.weight_average import WeightAverage
from dmin.runtime.seeds import derive_generator
from dmin.settings.config import DenoiserTraining

Networks = tuple[UNet2DConditionModel, CLIPTextModel]


def build_text_encoder(config: DenoiserTraining, tokenizer: CLIPTokenizer) -> CLIPTextModel:
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


def build_unet(config: DenoiserTraining, latents: torch.Size) -> UNet2DConditionModel:
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


def build_networks(config: DenoiserTraining, latents: torch.Size, tokenizer: CLIPTokenizer, seed: int) -> Networks:
    """Build an untrained UNet and text encoder, their weights drawn from ``seed``."""
    torch.manual_seed(seed)
    return build_unet(config, latents), build_text_encoder(config, tokenizer)


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


@dataclass(frozen=True)
class CaptionedLatents:
    """Latents ``[count, c, size, size]`` with the tokens of their captions ``[count, length]``, to be drawn from.

    ``empty [length]`` are the tokens of the empty prompt, ``weights [count]`` what rows are drawn in proportion to.
    """

    latents: torch.Tensor
    tokens: torch.Tensor
    empty: torch.Tensor
    weights: torch.Tensor


def train_denoiser(
    networks: Networks,
    samples: CaptionedLatents,
    config: DenoiserTraining,
    seed: int,
    state: TrainingState,
    pace: TrainingPace,
) -> None:
    """Train a UNet and a text encoder in place.

    The loss is the mean squared error of the predicted noise, the prompt is dropped for a share of the rows so that
    classifier-free guidance works, and the weights end as their exponential moving average. The finished ``state``
    stays, as the autoencoder's does.
    """
    scheduler, size = build_scheduler(), config["batch_size"]
    unet, text = networks
    modules = torch.nn.ModuleDict({"unet": unet, "text": text}).requires_grad_(True).train()
    trained = dict(modules.named_parameters())
    average = WeightAverage(trained, config["ema_decay"])

    def loss_at(step: int) -> torch.Tensor:
        generator = derive_generator(seed, "denoiser", step)
        index = torch.multinomial(samples.weights, size, replacement=True, generator=generator)
        latents = samples.latents[index]
        noise = torch.randn(latents.shape, generator=generator)
        timesteps = torch.randint(0, 1000, (size,), generator=generator)
        prompts = samples.tokens[index].clone()
        prompts[torch.rand(size, generator=generator) < config["prompt_dropout"]] = samples.empty
        noisy = scheduler.add_noise(latents, noise, timesteps)
        prediction = unet(noisy, timesteps, text(prompts).last_hidden_state).sample
        return F.mse_loss(prediction, noise)

    problem = Minimisation("denoiser", list(trained.values()), loss_at, {**trained, **average.tensors}, average.update)
    fit(problem, config, state, pace)
    average.apply()
    modules.requires_grad_(False).eval()
