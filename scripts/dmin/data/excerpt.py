"""The small excerpts of captioned image sets that the embedded example ships."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dmin.data.images import decode_image, encode_png
from dmin.data.samples import image_bytes, read_samples, write_samples
from dmin.runtime.errors import UserError
from dmin.runtime.seeds import derive_seed


def excerpt_source(source: Path, out: Path, rows: int, size: int, seed: int, name: str) -> None:
    """Write a seeded draw of a source's rows, in their order, at ``size x size`` pixels.

    Args:
        source: parquet file with the columns ``image, prompt, origin``.
        out: parquet file to make with the same columns.
        rows: how many rows to draw, without replacement.
        size: side in pixels.
        seed, name: fix the draw.

    Raises:
        UserError: the source is damaged, lacks a column or has fewer rows, or an image is unreadable.
    """
    frame = read_samples(source, ["image", "prompt", "origin"])
    if len(frame) < rows:
        raise UserError(f"Excerpt '{name}': {rows} rows asked for, {len(frame)} found in '{source}'; lower rows.")
    drawn = frame.sample(rows, random_state=derive_seed(seed, name) % 2**32).sort_index()
    images = [
        {"bytes": encode_png(decode_image(image_bytes(cell), str(origin), size)), "path": None}
        for cell, origin in zip(drawn["image"], drawn["origin"], strict=True)
    ]
    write_samples(drawn.assign(image=pd.Series(images, index=drawn.index, dtype=object)), out)


def remaining_rows(source: Path, excerpt: Path) -> pd.DataFrame:
    """Return the rows of ``source`` whose ``origin`` is not in ``excerpt``.

    Raises:
        UserError: a file is missing or damaged, or the excerpt holds an origin that the source lacks.
    """
    frame = read_samples(source)
    taken = set(read_samples(excerpt, ["origin"])["origin"])
    foreign = sorted(taken - set(frame["origin"]))
    if foreign:
        raise UserError(f"Excerpt '{excerpt}' has origin '{foreign[0]}', which '{source}' lacks; name its own source.")
    return frame[~frame["origin"].isin(taken)].reset_index(drop=True)
