"""A base pipeline and training images small enough for tests."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from dmin.data.images import encode_png
from dmin.data.samples import write_samples
from dmin.models.base.autoencoder import build_autoencoder
from dmin.models.base.denoiser import build_text_encoder, build_unet
from dmin.models.base.pipeline import save_base
from dmin.models.base.tokenizer import train_tokenizer

SIZE = 16
SUBSETS = ("red", "green", "blue")


def write_base(folder: Path) -> None:
    """Write a Stable-Diffusion-shaped pipeline with random weights, the same ones each time."""
    settings = {"channels": [16, 32], "latent_channels": 4, "text_width": 32, "text_layers": 1}
    tokenizer = train_tokenizer([caption(subset, 0) for subset in SUBSETS], 32, 12)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_base(
            build_autoencoder(settings, SIZE),
            tokenizer,
            build_text_encoder(settings, tokenizer),
            build_unet(settings, torch.Size([1, 4, SIZE // 2, SIZE // 2])),
            folder,
        )


def caption(subset: str, number: int) -> str:
    """Return the caption of an image."""
    return f"a {subset} square with {number} dots"


def picture(subset: str, number: int) -> Image.Image:
    """Return a noisy square in the colour of its subset."""
    generator = np.random.default_rng([SUBSETS.index(subset), number])
    pixels = generator.integers(0, 90, (SIZE, SIZE, 3))
    pixels[3:13, 3:13, SUBSETS.index(subset)] += 150
    return Image.fromarray(pixels.astype(np.uint8))


def write_table(path: Path, subset: str, count: int) -> None:
    """Write a source as a parquet file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "image": {"bytes": encode_png(picture(subset, number)), "path": None},
            "prompt": caption(subset, number),
            "origin": f"{subset}-{number}",
        }
        for number in range(count)
    ]
    write_samples(pd.DataFrame(rows), path)


def write_folder(path: Path, subset: str, count: int) -> None:
    """Write a source as people keep images for fine-tuning: files and their captions in ``metadata.jsonl``."""
    path.mkdir(parents=True, exist_ok=True)
    lines = []
    for number in range(count):
        picture(subset, number).save(path / f"{number:03d}.png")
        lines.append(json.dumps({"file_name": f"{number:03d}.png", "text": caption(subset, number)}))
    (path / "metadata.jsonl").write_text("\n".join(lines) + "\n")
