"""How alike images and their captions are to a CLIP model."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd

from dmin.data.sample_rows import SampleRows
from dmin.data.samples import read_samples
from dmin.models.clip_encoder import ClipEncoder
from dmin.runtime.atomic import write_parquet
from dmin.runtime.pace import Pace

log = logging.getLogger(__name__)


def measure_caption_similarity(samples: Path, encoder: str, revision: str | None, out: Path, pace: Pace) -> None:
    """Write the cosine of each image's embedding with that of its caption: ``sample, caption_similarity``, in -1..1.

    Args:
        samples: the table of a split.
        encoder: a CLIP model's hub name or folder; ``revision`` of one on the hub.

    Raises:
        UserError: the model cannot be loaded, or an image is unreadable.

    Source: CLIPScore (Hessel et al. 2021), without its scale and cut.
    """
    clip = ClipEncoder(encoder, revision, pace.device)
    table = read_samples(samples, ["id", "prompt"])
    captions = table["prompt"].tolist()
    rows = SampleRows(samples, ["image"])
    found = []
    for places, block in rows.pixel_blocks(pace.batch):
        pixels = block if block.shape[-1] == 3 else np.repeat(block, 3, axis=-1)
        texts = clip.embed_texts(captions[places])
        found.append((clip.embed(pixels) * texts).sum(axis=1, dtype=np.float64))
    write_parquet(pd.DataFrame({"sample": table["id"], "caption_similarity": np.concatenate(found)}), out)
    log.info("%d captions", len(captions))
