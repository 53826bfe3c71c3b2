"""Cosine of image embeddings."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from dmin.attribution.settings import EFFICIENTNET, encoder_name
from dmin.data.sample_rows import SampleRows
from dmin.models.clip_encoder import ClipEncoder
from dmin.models.image_embedding import DECODED, efficientnet_embeddings
from dmin.runtime.pace import Pace
from dmin.settings.runs import Options

log = logging.getLogger(__name__)

METHOD = {
    "inputs": "samples",
    "summary": "How alike the images are to an image encoder.",
    "score": "cosine of image embeddings",
    "range": "[-1, 1]",
    "label": "CLIP image cosine",
    "look": ("#E69F00", "^", "dashed"),
    "columns": ("image",),
    "options": ("encoder", "revision"),
    "device": True,
}

# Embeddings held at once: products of narrow blocks round otherwise than those of all.
EMBEDDED = 4096


def scores(queries: SampleRows, train: SampleRows, options: Options, pace: Pace) -> np.ndarray:
    """Return the cosine of the images' embeddings, float32 ``[queries, train]`` in [-1, 1].

    Args:
        options: ``encoder``, a CLIP model's hub name or folder (embeddings after the projection), or
            ``efficientnet`` where no CLIP is at hand; ``revision`` of a model on the hub.

    Raises:
        UserError: an image is unreadable, or the model cannot be loaded.

    Source: CLIP.
    """
    embed: Callable[[np.ndarray], np.ndarray]
    if options["encoder"] == EFFICIENTNET:
        log.warning("clip embeds with EfficientNet-Lite0, which is no CLIP; name one in influence.options.encoder.")
        rows, embed = DECODED, partial(efficientnet_embeddings, batch=pace.batch)
    else:
        rows, embed = pace.batch, ClipEncoder(options["encoder"], options["revision"], pace.device).embed
    left = np.concatenate([embed(_rgb(block)) for _, block in queries.pixel_blocks(rows)])
    out = np.empty((len(queries), len(train)), dtype=np.float32)
    held: list[np.ndarray] = []
    done = 0
    for places, block in train.pixel_blocks(rows):
        held.append(embed(_rgb(block)))
        if places.stop - done >= EMBEDDED or places.stop == len(train):
            out[:, done : places.stop] = left @ np.concatenate(held).T
            held, done = [], places.stop
    return out


def _rgb(pixels: np.ndarray) -> np.ndarray:
    return pixels if pixels.shape[-1] == 3 else np.repeat(pixels, 3, axis=-1)


def facts(options: Options) -> dict[str, Any]:
    """Return what the scores depend on, as it is recorded beside them."""
    return {"encoder": encoder_name(options["encoder"], options["revision"])}
