"""A user's own prompts or images as queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dmin.data.images import decode_image, encode_png
from dmin.data.samples import read_samples, write_samples
from dmin.data.source import fetch_source
from dmin.models.queries.generate import generate_images
from dmin.runtime.seeds import derive_seed

SUBSET = "query"


def generate_from_prompts(
    prompts: Sequence[str],
    weights: Path,
    base: Mapping[str, Any],
    config: Mapping[str, Any],
    out: Path,
    device: str,
    batch: int,
) -> None:
    """Generate an image from each prompt; columns ``id, subset, prompt, seed, image``, the subset always ``query``.

    Args:
        config: ``steps``, ``guidance`` and ``seed``.
    """
    seeds = [derive_seed(config["seed"], "query", name) % 2**32 for name in _names(len(prompts))]
    queries = pd.DataFrame({"id": _names(len(prompts)), "subset": SUBSET, "prompt": list(prompts), "seed": seeds})
    write_samples(generate_images(queries, weights, base, config, device, batch), out)


def import_queries(config: Mapping[str, Any], size: int, out: Path) -> None:
    """Write images as queries, square and ``size`` wide; columns ``id, subset, prompt, seed, image``.

    The subset is always ``query``; the seed, which generated nothing, is 0; the prompt is empty where none is known.

    Args:
        config: ``path, revision, split, image_column, caption_column, rows``.

    Raises:
        UserError: as :func:`fetch_source`.
    """
    fetched = out.with_name(f".{out.name}.source")
    others = {"label_column": None, "labels": None, "origin_column": None, "on_unreadable": "error"}
    try:
        fetch_source("queries", {**config, **others}, fetched)
        rows = read_samples(fetched, ["image", "prompt"])
    finally:
        fetched.unlink(missing_ok=True)
    names = _names(len(rows))
    images = [
        {"bytes": encode_png(decode_image(cell["bytes"], name, size)), "path": None}
        for name, cell in zip(names, rows["image"], strict=True)
    ]
    table = {"id": names, "subset": SUBSET, "prompt": rows["prompt"].tolist(), "seed": 0, "image": pd.Series(images)}
    write_samples(pd.DataFrame(table), out)


def _names(count: int) -> list[str]:
    return [f"query/{SUBSET}/{number:04d}" for number in range(count)]
