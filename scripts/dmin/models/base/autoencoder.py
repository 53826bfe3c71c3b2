"""Train a small AutoencoderKL from scratch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL

from dmin.models.training.fit import Minimisation, fit
from dmin.models.training.pace import TrainingPace
from dmin.models.training.state import TrainingState
from dmin.runtime.seeds import derive_generator
from dmin.settings.config import AutoencoderTraining


def build_autoencoder(config: AutoencoderTraining, size: int) -> AutoencoderKL:
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
    images: torch.Tensor,
    weights: torch.Tensor,
    config: AutoencoderTraining,
    seed: int,
    state: TrainingState,
    pace: TrainingPace,
) -> AutoencoderKL:
    """Train an autoencoder on ``images`` ``[count, 3, size, size]`` in [-1, 1], drawn with ``weights`` ``[count]``.

    The loss is L1 reconstruction plus a weak KL term; the result's ``scaling_factor`` brings the latent modes of
    the training images to unit variance, as Stable Diffusion does. The finished ``state`` stays, so that a kill during
    what follows does not train it again; the caller discards it.
    """
    torch.manual_seed(seed)
    model = build_autoencoder(config, images.shape[-1]).train()

    def loss_at(step: int) -> torch.Tensor:
        generator = derive_generator(seed, "autoencoder", step)
        index = torch.multinomial(weights, config["batch_size"], replacement=True, generator=generator)
        pixels = augment_pixels(images[index], generator)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            posterior = model.encode(pixels).latent_dist
            noise = torch.randn(posterior.mean.shape, generator=generator)
            latents = posterior.mean.float() + posterior.std.float() * noise
            decoded = model.decode(latents).sample
        mean, variance, log_variance = posterior.mean.float(), posterior.var.float(), posterior.logvar.float()
        kl = 0.5 * (mean**2 + variance - 1.0 - log_variance).mean()
        return F.l1_loss(decoded.float(), pixels) + config["kl_weight"] * kl

    fit(Minimisation("autoencoder", list(model.parameters()), loss_at, model.state_dict()), config, state, pace)
    model.eval().requires_grad_(False)
    std = encode_modes(model, images).std().item()
    model.register_to_config(scaling_factor=1.0 / std)
    return model


@torch.no_grad()
def encode_modes(model: AutoencoderKL, images: torch.Tensor, batch_size: int = 128) -> torch.Tensor:
    """Return the unscaled posterior modes ``[count, channels, height, width]`` of ``images`` in [-1, 1]."""
    return torch.cat([model.encode(part).latent_dist.mode() for part in images.split(batch_size)])
