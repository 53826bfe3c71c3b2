"""Excerpts: the draw, and the rows that it leaves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dmin.data.excerpt import excerpt_source, remaining_rows
from dmin.data.images import encode_png
from dmin.data.samples import read_samples, sample_pixels, write_samples
from dmin.runtime.errors import UserError

EXAMPLE = Path(__file__).parents[2] / "resources" / "example" / "data"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    images = [{"bytes": encode_png(Image.new("RGB", (16, 16), (i, 0, 0))), "path": f"{i}.png"} for i in range(30)]
    frame = pd.DataFrame({"image": pd.Series(images, dtype=object), "prompt": [f"p{i}" for i in range(30)]})
    write_samples(frame.assign(origin=[f"o{i}" for i in range(30)]), tmp_path / "source.parquet")
    return tmp_path / "source.parquet"


def test_draw_is_seeded_ordered_and_resized(source: Path, tmp_path: Path) -> None:
    outs = [tmp_path / f"{i}.parquet" for i in range(3)]
    for out, name in zip(outs, ("a", "a", "b"), strict=True):
        excerpt_source(source, out, 10, 8, 0, name)
    first = read_samples(outs[0])
    assert outs[0].read_bytes() == outs[1].read_bytes()
    assert read_samples(outs[2])["origin"].tolist() != first["origin"].tolist()
    numbers = first["origin"].str[1:].astype(int).tolist()
    assert numbers == sorted(numbers) and len(set(numbers)) == 10
    pixels = sample_pixels(first)
    assert pixels.shape == (10, 8, 8, 3) and pixels[:, 0, 0, 0].tolist() == numbers
    with pytest.raises(UserError, match="Excerpt 'a': 31 rows asked for, 30 found"):
        excerpt_source(source, outs[0], 31, 8, 0, "a")


def test_remaining_rows_are_the_others(source: Path, tmp_path: Path) -> None:
    excerpt_source(source, tmp_path / "a.parquet", 10, 8, 0, "a")
    taken = set(read_samples(tmp_path / "a.parquet")["origin"])
    rest = remaining_rows(source, tmp_path / "a.parquet")
    assert len(rest) == 20 and not taken & set(rest["origin"]) and "image" in rest.columns
    with pytest.raises(UserError, match=r"which .* lacks"):
        remaining_rows(tmp_path / "a.parquet", source)


@pytest.mark.parametrize("name", ["digits", "emoji3d", "flags", "lego", "lineicons", "sprites"])
def test_shipped_excerpts(name: str) -> None:
    frame = read_samples(EXAMPLE / f"{name}.parquet")
    assert list(frame.columns) == ["image", "prompt", "origin"]
    assert sample_pixels(frame).shape == (200, 32, 32, 3)
    assert frame["origin"].is_unique and frame["prompt"].str.strip().ne("").all()
    assert f"`{name}.parquet`" in (EXAMPLE / "ATTRIBUTION.md").read_text(encoding="utf-8")
    assert np.ptp(sample_pixels(frame)) > 200
