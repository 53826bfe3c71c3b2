"""Train a small AutoencoderKL from scratch."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL

from dmin.models.base.schedule import cosine_rate
from dmin.models.training_state import TrainingState
from dmin.seeds import derive_generator

log = logging.getLogger(__name__)


def build_autoencoder(config: Mapping[str, Any], size: int) -> AutoencoderKL:
    """Build an untrained AutoencoderKL with one halving of the resolution per entry of ``channels`` but the last."""
    channels = list(config["channels"])
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        block_out_channels=tuple(channels),
        layers_per_block=1,
        latent_channels=config["latent_channels"],
        norm_num_groups=16,
        sample_size=size,
        mid_block_add_attention=False,
    )


def augment_pixels(pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Flip, transpose and permute the colour channels of a batch ``[batch, 3, size, size]``, each at random.

    An autoencoder must reconstruct any of these, and a small image set does not show them all.
    """
    draws = torch.randint(0, 2, (3,), generator=generator)
    if draws[0]:
        pixels = pixels.flip(-1)
    if draws[1]:
        pixels = pixels.flip(-2)
    if draws[2]:
        pixels = pixels.transpose(-1, -2)
    return pixels[:, torch.randperm(3, generator=generator)]


def train_autoencoder(
    images: torch.Tensor, weights: torch.Tensor, config: Mapping[str, Any], seed: int, state_folder: Path, digest: str
) -> AutoencoderKL:
    """Train an autoencoder on ``images`` ``[count, 3, size, size]`` in [-1, 1], drawn with ``weights`` ``[count]``.

    The loss is L1 reconstruction plus a weak KL term; the result's ``scaling_factor`` brings the latent modes of
    the training images to unit variance, as Stable Diffusion does.
    """
    torch.manual_seed(seed)
    model = build_autoencoder(config, images.shape[-1])
    optimizer = torch.optim.AdamW(model.parameters(), lr=config["learning_rate"], weight_decay=0.0)
    state = TrainingState(state_folder, digest)
    start, rows = state.load(optimizer, model.state_dict())
    steps, began = config["steps"], time.monotonic()
    model.train()
    for step in range(start, steps):
        generator = derive_generator(seed, "autoencoder", step)
        index = torch.multinomial(weights, config["batch_size"], replacement=True, generator=generator)
        pixels = augment_pixels(images[index], generator)
        for group in optimizer.param_groups:
            group["lr"] = cosine_rate(config["learning_rate"], step, steps)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            posterior = model.encode(pixels).latent_dist
            noise = torch.randn(posterior.mean.shape, generator=generator)
            latents = posterior.mean.float() + posterior.std.float() * noise
            decoded = model.decode(latents).sample
        kl = 0.5 * (posterior.mean.float() ** 2 + posterior.var.float() - 1.0 - posterior.logvar.float()).mean()
        reconstruction = F.l1_loss(decoded.float(), pixels)
        (reconstruction + config["kl_weight"] * kl).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if (step + 1) % config["log_every"] == 0 or step + 1 == steps:
            rows.append({"step": step + 1, "l1": reconstruction.item(), "kl": kl.item()})
            pace = (step + 1 - start) / (time.monotonic() - began)
            log.info(
                "autoencoder: step %d of %d, L1 %.4f, KL %.2f, %.1f steps/s, %.0f s to go",
                step + 1, steps, reconstruction, kl, pace, (steps - step - 1) / pace,
            )  # fmt: skip
            state.save(step + 1, optimizer, model.state_dict(), rows)
    model.eval().requires_grad_(False)
    std = encode_modes(model, images).std().item()
    model.register_to_config(scaling_factor=1.0 / std)
    return model


@torch.no_grad()
def encode_modes(model: AutoencoderKL, images: torch.Tensor, batch_size: int = 128) -> torch.Tensor:
    """Return the unscaled posterior modes ``[count, channels, height, width]`` of ``images`` in [-1, 1]."""
    return torch.cat([model.encode(part).latent_dist.mode() for part in images.split(batch_size)])
