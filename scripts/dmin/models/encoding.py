"""Encode samples once for training, caching and everything after."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from dmin.data.pixels import pixels_to_tensor
from dmin.data.sample_rows import SampleRows
from dmin.data.samples import sample_pixels
from dmin.models.encoded import EncodedSamples
from dmin.models.load import load_family
from dmin.models.spool import Spool
from dmin.runtime.device import resolve_device
from dmin.runtime.pace import Pace
from dmin.settings.models import Base

log = logging.getLogger(__name__)


def encode_samples(samples: Path, base: Base, out: Path, pace: Pace) -> None:
    """Encode the images and prompts of a parquet file with the frozen encoders of ``base``.

    Latents are modes of the autoencoder's posterior, never samples of it, so that equal images stay equal. Prompts that
    are too long are cut; how many is logged and kept in the file as ``truncated``. Memory is that of one batch: what is
    encoded goes to disk beside ``out`` until all is.
    """
    start = time.monotonic()
    rows = SampleRows(samples, ["image", "prompt"])
    family = load_family(base, resolve_device(pace.device), ["encoders"])
    long: list[str] = []
    with Spool(out.parent) as spool:
        for _, part in rows.blocks(pace.batch, ["id", "image", "prompt"]):
            prompts = part["prompt"].tolist()
            long += part["id"].iloc[family.long_prompts(prompts)].tolist()
            spool.add("latents", family.encode_images(pixels_to_tensor(sample_pixels(part))))
            for name, value in family.encode_prompts(prompts).items():
                spool.add(name, value)
        if long:
            log.warning(
                "%d of %d prompts are longer than the text encoder takes, and cut (%s)", len(long), len(rows), long[0]
            )
        conditioning = spool.tensors()
        EncodedSamples(
            rows.ids,
            conditioning.pop("latents"),
            conditioning,
            {name: value.cpu() for name, value in family.encode_prompts([""]).items()},
        ).save(out, truncated=len(long))
    log.info("%d samples encoded in %.1f s", len(rows), time.monotonic() - start)
