"""The training of a base pipeline from scratch, in a few steps on a few images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from tiny_pipeline import PROMPT_LENGTH, SIZE

from dmin.data.images import encode_png
from dmin.data.samples import write_samples

TRAINING = {
    "batch_size": 2,
    "steps": 3,
    "learning_rate": 1e-3,
    "weight_decay": 0.0,
    "warmup_steps": 1,
}
REFINE = {"steps": 2, "learning_rate": 1e-3, "balance": 0.0}


def base_config(folder: Path) -> dict[str, Any]:
    """Write two sources with their excerpts, and return the config of a base trained on the rest of them."""
    generator = np.random.default_rng(0)
    sources = []
    for name, rows in (("flags", 4), ("bricks", 8)):
        pixels = generator.integers(0, 256, (rows, SIZE, SIZE, 3), dtype=np.uint8)
        images = [{"bytes": encode_png(Image.fromarray(image)), "path": None} for image in pixels]
        prompts = [f"{name} number {n}" for n in range(rows)]
        frame = pd.DataFrame({"image": images, "prompt": prompts, "origin": [f"{name}/{n}" for n in range(rows)]})
        source, excerpt = folder / f"{name}.parquet", folder / f"{name}-excerpt.parquet"
        write_samples(frame, source)
        write_samples(frame[:2], excerpt)
        sources.append({"name": name, "path": str(source), "excerpt": str(excerpt)})
    autoencoder = {**TRAINING, "channels": [16, 16], "latent_channels": 4, "kl_weight": 1e-4}
    network = {
        **TRAINING,
        "channels": [16, 32],
        "text_width": 16,
        "text_layers": 1,
        "merges": 10,
        "prompt_length": PROMPT_LENGTH,
        "prompt_dropout": 0.2,
        "ema_decay": 0.9,
    }
    return {
        "sources": sources,
        "size": SIZE,
        "seed": 1,
        "autoencoder": autoencoder,
        "denoiser": network,
        "refine": REFINE,
    }
