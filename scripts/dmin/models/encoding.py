"""Encode samples once for training, caching and everything after."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import torch

from dmin.data.pixels import pixels_to_tensor
from dmin.data.samples import read_samples, sample_pixels
from dmin.models.encoded import EncodedSamples
from dmin.models.load import load_family
from dmin.runtime.device import resolve_device
from dmin.runtime.pace import Pace
from dmin.settings.models import Base

log = logging.getLogger(__name__)


def encode_samples(samples: Path, base: Base, out: Path, pace: Pace) -> None:
    """Encode the images and prompts of a parquet file with the frozen encoders of ``base``.

    Latents are modes of the autoencoder's posterior, never samples of it, so that equal images stay equal. Prompts that
    are too long are cut; how many is logged and kept in the file as ``truncated``.
    """
    start = time.monotonic()
    frame = read_samples(samples)
    family = load_family(base, resolve_device(pace.device), ["encoders"])
    long = family.long_prompts(frame["prompt"].tolist())
    if long:
        first = frame["id"].iloc[long[0]]
        log.warning(
            "%d of %d prompts are longer than the text encoder takes, and cut (%s)", len(long), len(frame), first
        )
    latents: list[torch.Tensor] = []
    conditioning: dict[str, list[torch.Tensor]] = {}
    for first in range(0, len(frame), pace.batch):
        part = frame.iloc[first : first + pace.batch]
        latents.append(family.encode_images(pixels_to_tensor(sample_pixels(part))).cpu())
        for name, value in family.encode_prompts(part["prompt"].tolist()).items():
            conditioning.setdefault(name, []).append(value.cpu())
    EncodedSamples(
        frame["id"].tolist(),
        torch.cat(latents),
        {name: torch.cat(values) for name, values in conditioning.items()},
        {name: value.cpu() for name, value in family.encode_prompts([""]).items()},
    ).save(out, truncated=len(long))
    log.info("%d samples encoded in %.1f s", len(frame), time.monotonic() - start)
