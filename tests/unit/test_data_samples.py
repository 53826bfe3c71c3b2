"""Sample tables: reading, writing and decoding."""

from __future__ import annotations

from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dmin.data.images import encode_png
from dmin.data.samples import ROW_GROUP, image_bytes, iter_samples, read_samples, sample_pixels, write_samples
from dmin.runtime.errors import UserError


def _frame(count: int = 3, mode: str = "RGB") -> pd.DataFrame:
    images = [Image.new(mode, (5, 4), i if mode == "L" else (i, 0, 0)) for i in range(count)]
    return pd.DataFrame(
        {
            "id": [f"a/{i}" for i in range(count)],
            "label": [None, *["x"] * (count - 1)],
            "seed": range(count),
            "image": pd.Series([{"bytes": encode_png(image), "path": None} for image in images], dtype=object),
        }
    )


def test_round_trip_with_row_groups_and_nulls(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_samples(_frame(ROW_GROUP + 3), path)
    frame = read_samples(path)
    assert list(frame.columns) == ["id", "label", "seed", "image"]
    assert pd.isna(frame["label"][0]) and frame["label"][1] == "x"
    assert frame["seed"].tolist() == list(range(ROW_GROUP + 3))
    assert [row["id"] for row in iter_samples(path, ["id"])] == frame["id"].tolist()
    assert list(read_samples(path, ["seed", "id"]).columns) == ["seed", "id"]


def test_datasets_decodes_the_images(tmp_path: Path) -> None:
    write_samples(_frame(), tmp_path / "a.parquet")
    stream = datasets.load_dataset("parquet", data_files=str(tmp_path / "a.parquet"), split="train", streaming=True)
    assert next(iter(stream))["image"].size == (5, 4)


@pytest.mark.parametrize(("mode", "channels"), [("RGB", 3), ("L", 1)])
def test_pixels_have_channels_last(mode: str, channels: int) -> None:
    pixels = sample_pixels(_frame(mode=mode))
    assert pixels.shape == (3, 4, 5, channels) and pixels.dtype == np.uint8
    assert pixels[:, 0, 0, 0].tolist() == [0, 1, 2]


def test_pixels_refuse_torn_and_mixed_images() -> None:
    frame = _frame()
    frame["image"][1]["bytes"] = frame["image"][1]["bytes"][:40]
    with pytest.raises(UserError, match="Image 'a/1' is unreadable"):
        sample_pixels(frame)
    mixed = pd.concat([_frame(), _frame(mode="L")])
    with pytest.raises(UserError, match=r"Image 'a/0' has shape \(4, 5, 1\)"):
        sample_pixels(mixed)
    with pytest.raises(UserError, match="no rows"):
        sample_pixels(_frame().iloc[:0])


def test_image_cells(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    assert image_bytes(b"x") == b"x"
    assert image_bytes({"bytes": None, "path": "a.png"}, [tmp_path]) == b"x"
    assert image_bytes(str(tmp_path / "a.png"), [tmp_path]) == b"x"
    # A table of the workflow's own holds the bytes; no file is read for it.
    for cell in (None, {"bytes": None, "path": None}, 3, str(tmp_path / "a.png")):
        with pytest.raises(ValueError, match="neither image bytes nor a path"):
            image_bytes(cell)


def test_bad_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    with pytest.raises(UserError, match=r"a\.parquet' does not exist"):
        read_samples(path)
    write_samples(_frame(200), path)
    whole = path.read_bytes()
    with pytest.raises(UserError, match=r"a\.parquet' has no column 'prompt'; it has id, label, seed, image"):
        read_samples(path, ["prompt"])
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"a\.parquet' is damaged"):
        read_samples(path)
    path.write_bytes(b"\0" * 4000 + whole[4000:])
    with pytest.raises(UserError, match=r"a\.parquet' is damaged"):
        read_samples(path)
    with pytest.raises(UserError, match=r"a\.parquet' is damaged"):
        list(iter_samples(path))
