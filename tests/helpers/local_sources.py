"""Local sources for tests: small images, tables and folders, and what is fetched of them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dmin.data.source import fetch_source
from dmin.runtime.errors import UserError


def settings(path: object, **changes: Any) -> dict[str, Any]:
    """Return a full source section with the schema's defaults."""
    defaults = {
        "revision": None,
        "split": "train",
        "image_column": "image",
        "caption_column": "auto",
        "on_empty_caption": "error",
        "trigger": None,
        "label_column": None,
        "labels": None,
        "origin_column": None,
        "rows": None,
        "sample": "first",
        "repeats": None,
        "on_unreadable": "error",
    }
    return {"path": str(path)} | defaults | changes


def encoded(value: int = 0, mode: str = "RGB", form: str = "PNG") -> bytes:
    """Return an encoded 6 x 5 image."""
    image = Image.fromarray(np.full((5, 6, 3), value, dtype=np.uint8)).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, form)
    return buffer.getvalue()


def table(path: Path, images: list[Any], **columns: Any) -> Path:
    """Write a parquet file of images and other columns, without type hints for datasets."""
    frame = pd.DataFrame({"image": pd.Series(images, dtype=object), "prompt": [f"p{i}" for i in range(len(images))]})
    frame.assign(**columns).to_parquet(path)
    return path


def cells(*data: bytes) -> list[dict[str, Any]]:
    """Return image cells as hub data sets store them."""
    return [{"bytes": image, "path": f"{number}.png"} for number, image in enumerate(data)]


def fetched(tmp_path: Path, config: dict[str, Any]) -> pd.DataFrame:
    """Fetch a source and read the result."""
    fetch_source("lego", config, tmp_path / "out.parquet")
    return pd.read_parquet(tmp_path / "out.parquet")


def red(image: bytes) -> int:
    """Return the red value of an image's first pixel, by which ``encoded`` images are told apart."""
    return Image.open(io.BytesIO(image)).convert("RGB").getpixel((0, 0))[0]  # type: ignore[index, return-value]


def values(frame: pd.DataFrame) -> list[int]:
    """Return the red values of fetched images, in order."""
    return [red(cell["bytes"]) for cell in frame["image"]]


def write_folder(folder: Path, *names: str) -> Path:
    """Write images into a folder, the first with red value 1, the second with 2, and so on."""
    for number, name in enumerate(names, 1):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(encoded(number))
    return folder


def refusal(tmp_path: Path, config: dict[str, Any]) -> str:
    """Return the sentence with which a source is refused, even where unreadable images are left out."""
    with pytest.raises(UserError) as caught:
        fetched(tmp_path, config | {"on_unreadable": "skip"})
    assert "\n" not in str(caught.value) and not (tmp_path / "out.parquet").exists()
    return str(caught.value)
