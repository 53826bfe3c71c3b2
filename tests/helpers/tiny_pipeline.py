"""A Stable-Diffusion-shaped pipeline of a few thousand random weights, for 16-pixel images, and caches made with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from dmin.gradients.cache import cache_gradients
from dmin.gradients.cache_kind import CacheKind
from dmin.gradients.lissa_cache import cache_lissa
from dmin.gradients.make_shard import ShardTask
from dmin.gradients.shard import Shard
from dmin.models.base.autoencoder import build_autoencoder
from dmin.models.base.denoiser import build_text_encoder, build_unet
from dmin.models.base.pipeline import save_base
from dmin.models.base.tokenizer import train_tokenizer
from dmin.models.encoded import EncodedSamples
from dmin.models.load import TrainedModel, load_family
from dmin.runtime.pace import Pace

SIZE = 16
LATENT = (4, 8, 8)
TEXT_WIDTH = 16
PROMPT_LENGTH = 8
LORA = {"rank": 4, "alpha": 8, "targets": ["to_q", "to_k", "to_v", "to_out.0"]}
CPU = torch.device("cpu")
TIMESTEPS = [900, 500, 100]
LISSA = {"products": 6, "batch": 2, "damping": 0.5, "seed": 1}


def build_base(folder: Path) -> dict[str, Any]:
    """Save the pipeline to ``folder`` and return its config entry."""
    torch.manual_seed(0)
    tokenizer = train_tokenizer(["a red flag", "a blue brick", "a green sprite"], 20, PROMPT_LENGTH)
    vae = build_autoencoder({"channels": [16, 16], "latent_channels": LATENT[0]}, SIZE)
    vae.register_to_config(scaling_factor=0.7)
    text = {"text_width": TEXT_WIDTH, "text_layers": 1}
    unet = build_unet({"channels": [16, 32], **text}, torch.Size((1, *LATENT)))
    save_base(vae, tokenizer, build_text_encoder(text, tokenizer), unet, folder)
    return {"family": "stable_diffusion", "path": str(folder), "revision": None}


def build_adapter(base: Mapping[str, Any], folder: Path, scale: float = 0.1) -> Path:
    """Save an adapter with random weights of standard deviation ``scale`` and return the weights' path.

    A larger scale saturates the attention, which makes the gradients of single precision inexact.
    """
    family = load_family(base, CPU, ["denoiser"])
    family.add_adapter(LORA)
    generator = torch.Generator().manual_seed(1)
    for name, value in family.denoiser.named_parameters():
        if "lora_" in name:
            # An untrained adapter has B = 0, which would hide a wrong scale and give A no gradient.
            value.data = scale * torch.randn(value.shape, generator=generator)
    family.save_adapter(folder)
    return folder / "pytorch_lora_weights.safetensors"


def random_samples(count: int, seed: int = 0, prefix: str = "a") -> EncodedSamples:
    """Return samples ``prefix/0 ...`` with standard normal latents and conditioning."""
    generator = torch.Generator().manual_seed(seed)
    return EncodedSamples(
        [f"{prefix}/{number}" for number in range(count)],
        torch.randn((count, *LATENT), generator=generator),
        {"prompt_embeds": torch.randn((count, PROMPT_LENGTH, TEXT_WIDTH), generator=generator)},
        {"prompt_embeds": torch.randn((1, PROMPT_LENGTH, TEXT_WIDTH), generator=generator)},
    )


def reorder(samples: EncodedSamples, order: Sequence[int]) -> EncodedSamples:
    """Return the samples at the places ``order``."""
    index = torch.tensor(order)
    return EncodedSamples(
        [samples.ids[place] for place in order],
        samples.latents[index],
        {name: value[index] for name, value in samples.conditioning.items()},
        samples.unconditional,
    )


def gradient_config(**changes: Any) -> dict[str, Any]:
    """Return gradient settings for the tiny adapter (7,680 parameters) with ``changes``."""
    return {
        "parameters": "adapter",
        "objective": "training",
        "timesteps": {"grid": "custom", "count": len(TIMESTEPS), "custom": TIMESTEPS},
        "noise": {"policy": "by_id", "seed": 3},
        "cache_dim": 1024,
        "sketch_kind": "permutation",
        "sketch_seed": 5,
        "keep_raw": True,
        "precision": "float32",
        "on_bad_loss": "error",
        **changes,
    }


def make_shard(
    out: Path,
    base: Mapping[str, Any],
    adapter: Path,
    samples: Path,
    config: Mapping[str, Any] | None = None,
    start: int = 0,
    stop: int = 5,
    batch: int = 4,
    draws: int = 1,
    quantity: str = "loss",
    request: Any = None,
) -> Shard:
    """Cache the gradients of a range of samples in the folder ``out``."""
    path = out / f"{start:08d}-{stop:08d}.safetensors"
    settings = gradient_config() if config is None else config
    metrics = path.with_suffix(".metrics.json")
    cache_gradients(
        ShardTask(samples, start, stop, path, metrics),
        TrainedModel(base, adapter),
        settings,
        CacheKind("loss", {"quantity": quantity, "draws": draws}),
        Pace("cpu", batch, request),
    )
    return Shard(path)


def cache_lissa_shard(
    folder: Path, base: Mapping[str, Any], adapter: Path, train: Path, queries: Path, batch: int
) -> Path:
    """Cache LiSSA's answers for three queries in a folder, and return the shard."""
    shard = folder / "00000000-00000003.safetensors"
    config = gradient_config(keep_raw=False)
    task = ShardTask(queries, 0, 3, shard, shard.with_suffix(".metrics.json"))
    cache_lissa(task, train, TrainedModel(base, adapter), config, LISSA, Pace("cpu", batch))
    return shard
