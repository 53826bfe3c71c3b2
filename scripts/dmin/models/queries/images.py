"""A user's own images as queries."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dmin.data.buckets import Frame
from dmin.data.images import decode_image, encode_png
from dmin.data.samples import read_samples, write_samples
from dmin.data.source import fetch_source
from dmin.models.queries.names import OWN, query_names
from dmin.settings.models import Source
from dmin.settings.runs import OwnImages


def as_source(config: OwnImages) -> Source:
    """Return own images as a source, of which every image must be readable."""
    return {
        "name": "queries",
        **config,
        "on_empty_caption": "error",
        "trigger": None,
        "label_column": None,
        "labels": None,
        "origin_column": None,
        "sample": "first",
        "repeats": 1,
        "on_unreadable": "error",
    }


def import_queries(config: OwnImages, size: int | Frame, out: Path, profiles: bool = True) -> None:
    """Write images as queries; columns ``id, subset, prompt, seed, image``.

    They are square and ``size`` wide, or in the buckets of a frame.
    The subset is always ``query``; the seed is missing; the prompt is empty where none is known; the path of an image
    is that of its file, from the folder of the images on, where it has one.
    With ``profiles``, images that have an ICC profile are converted to sRGB, as the training images are.

    Raises:
        UserError: as :func:`fetch_source`.
    """
    fetched = out.with_name(f".{out.name}.source")
    try:
        fetch_source("queries", as_source(config), fetched)
        rows = read_samples(fetched, ["image", "prompt", "origin"])
    finally:
        fetched.unlink(missing_ok=True)
    names = query_names(OWN, len(rows))
    images = [
        {"bytes": encode_png(decode_image(cell["bytes"], name, size, profiles=profiles)), "path": cell["path"]}
        for name, cell in zip(names, rows["image"], strict=True)
    ]
    texts = {"id": names, "subset": OWN, "prompt": rows["prompt"].tolist(), "origin": rows["origin"].tolist()}
    write_samples(pd.DataFrame({**texts, "seed": None, "image": pd.Series(images)}), out)
