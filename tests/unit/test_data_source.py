"""Local sources: every form that is read, and one sentence for every fault."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from local_sources import cells, encoded, fetched, settings, table
from PIL import Image

from dmin.data.source import SOURCE_COLUMNS, fetch_source
from dmin.runtime.errors import UserError


def counts(tmp_path: Path) -> dict[str, int]:
    """Read the counts stored in the fetched file."""
    return json.loads(pq.read_metadata(tmp_path / "out.parquet").metadata[b"dmin"])


def test_parquet_with_bytes_keeps_the_encoding(tmp_path: Path) -> None:
    data = [encoded(1), encoded(2, form="JPEG"), encoded(3, "P"), encoded(4, "L"), encoded(5, "RGBA")]
    path = table(tmp_path / "in.parquet", cells(*data), kind=[7, 8, 9, 7, 8], key=list("vwxyz"))
    frame = fetched(tmp_path, settings(path, label_column="kind", origin_column="key"))
    assert tuple(frame.columns) == SOURCE_COLUMNS
    assert [cell["bytes"] for cell in frame["image"]] == data
    assert frame["label"].tolist() == list("78978") and frame["origin"].tolist() == list("vwxyz")
    assert counts(tmp_path) == {"list_captions": 0, "rows": 5, "skipped": 0}


def test_rows_limit_null_caption_and_default_origin(tmp_path: Path) -> None:
    path = table(tmp_path / "in.parquet", cells(*[encoded(i) for i in range(4)]))
    frame = fetched(tmp_path, settings(path, rows=3, caption_column=None))
    assert frame["prompt"].tolist() == ["", "", ""] and frame["origin"].tolist() == ["0.png", "1.png", "2.png"]
    assert frame["label"].isna().all()


def test_rows_of_other_labels_are_passed_over(tmp_path: Path) -> None:
    path = table(tmp_path / "in.parquet", cells(*[encoded(value) for value in range(5)]), kind=list("abacb"))
    config = settings(path, label_column="kind", labels=["a", "c"], rows=3)
    frame = fetched(tmp_path, config)
    assert frame["label"].tolist() == ["a", "a", "c"] and frame["origin"].tolist() == ["0.png", "2.png", "3.png"]
    with pytest.raises(UserError, match=r"4 rows asked for, 3 found with a label among a, c in"):
        fetched(tmp_path, {**config, "rows": 4})


def test_typed_columns_of_datasets(tmp_path: Path) -> None:
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    data = {"image": cells(encoded(1), encoded(2)), "label": [1, 0]}
    datasets.Dataset.from_dict(data, features=features).to_parquet(tmp_path / "in.parquet")
    frame = fetched(tmp_path, settings(tmp_path / "in.parquet", caption_column="label", label_column="label"))
    assert frame["label"].tolist() == frame["prompt"].tolist() == ["dog", "cat"]
    assert frame["image"][0]["bytes"] == encoded(1)


def test_paths_in_a_parquet_file_are_read(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for number in range(3):
        (tmp_path / "images" / f"{number}.png").write_bytes(encoded(number))
    absolute = str(tmp_path / "images" / "1.png")
    cases = [{"bytes": None, "path": "images/0.png"}, {"bytes": None, "path": absolute}]
    assert [cell["bytes"] for cell in fetched(tmp_path, settings(table(tmp_path / "in.parquet", cases)))["image"]] == [
        encoded(0),
        encoded(1),
    ]
    frame = fetched(tmp_path, settings(table(tmp_path / "in.parquet", ["images/2.png", absolute])))
    assert frame["image"][0] == {"bytes": encoded(2), "path": "images/2.png"}


def test_image_folders(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    for name in ("cat/b.png", "cat/a.png", "dog/c.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(encoded(ord(name[4])))
    frame = fetched(tmp_path, settings(folder, caption_column=None, label_column="label"))
    assert frame["label"].tolist() == ["cat", "cat", "dog"]
    assert [cell["path"] for cell in frame["image"]] == ["cat/a.png", "cat/b.png", "dog/c.png"]

    (folder / "metadata.csv").write_text("file_name,text\ndog/c.png,ein Hund\ncat/a.png,кошка\n", encoding="utf-8")
    frame = fetched(tmp_path, settings(folder, caption_column="text"))
    assert frame["prompt"].tolist() == ["ein Hund", "кошка"] and frame["image"][0]["bytes"] == encoded(ord("c"))

    (folder / "metadata.csv").unlink()
    lines = [{"file_name": f"cat/{name}.png", "text": texts} for name, texts in (("b", ["", " two "]), ("a", ["one"]))]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    assert fetched(tmp_path, settings(folder, caption_column="text"))["prompt"].tolist() == ["two", "one"]
    assert counts(tmp_path)["list_captions"] == 2


def test_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    path = table(tmp_path / "in.parquet", cells(*[encoded(i) for i in range(70)]))
    for out in ("a.parquet", "b.parquet"):
        fetch_source("lego", settings(path), tmp_path / out)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_unreadable_images_are_all_counted_and_named(tmp_path: Path) -> None:
    data = [encoded(1), encoded(2)[:45], b"", encoded(3), encoded(4)]
    path = table(tmp_path / "in.parquet", [*cells(*data), {"bytes": None, "path": "gone.png"}])
    with pytest.raises(UserError) as caught:
        fetched(tmp_path, settings(path))
    assert str(caught.value) == (
        "Source 'lego': 3 unreadable image(s), row 1 (1.png), row 2 (2.png), row 5 (gone.png) "
        "('gone.png': No such file or directory); replace them, or set on_unreadable: skip and rows to 3 to leave them "
        "out."
    )
    assert [item.name for item in tmp_path.iterdir()] == ["in.parquet"]
    assert fetched(tmp_path, settings(path, rows=1))["origin"].tolist() == ["0.png"]
    mended = fetched(tmp_path, settings(path, rows=3, on_unreadable="skip"))
    assert mended["origin"].tolist() == ["0.png", "3.png", "4.png"]
    none = table(tmp_path / "none.parquet", cells(b"", b""))
    with pytest.raises(
        UserError, match=r"2 unreadable image\(s\), row 0 \(0\.png\), row 1 \(1\.png\).*; replace them\.$"
    ):
        fetched(tmp_path, settings(none))


def test_skipped_images_are_filled_up_by_later_rows(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = [encoded(1), b"torn", encoded(3), encoded(4)]
    path = table(tmp_path / "in.parquet", cells(*data))
    with caplog.at_level(logging.INFO):
        frame = fetched(tmp_path, settings(path, rows=3, on_unreadable="skip"))
    assert frame["origin"].tolist() == ["0.png", "2.png", "3.png"]
    assert counts(tmp_path) == {"list_captions": 0, "rows": 3, "skipped": 1}
    assert "skipped unreadable row 1 (1.png)" in caplog.text and "3 rows taken (3 asked for), 1 skipped" in caplog.text
    with pytest.raises(UserError) as caught:
        fetched(tmp_path, settings(path, rows=4, on_unreadable="skip"))
    assert "Source 'lego': 4 rows asked for, 3 found (1 unreadable ones left out)" in str(caught.value)


@pytest.mark.parametrize("empty", [None, "", "  ", [], ["", None]])
def test_empty_captions_are_named(tmp_path: Path, empty: Any) -> None:
    good: Any = ["a", "b"] if isinstance(empty, list) else "a"
    path = table(tmp_path / "in.parquet", cells(encoded(), encoded(), encoded()), prompt=pd.Series([good, empty, good]))
    with pytest.raises(UserError, match=r"caption column 'prompt' is empty in 1 row\(s\), row 1 \(1\.png\); fill"):
        fetched(tmp_path, settings(path))
    assert not (tmp_path / "out.parquet").exists()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"image_column": "img"}, "has no column 'img'; set image_column to one of image, prompt."),
        ({"caption_column": "text"}, "has no column 'text'; set caption_column to one of image, prompt, or to null"),
        ({"label_column": "kind"}, "has no column 'kind'; set label_column to one of image, prompt, or to null"),
        ({"rows": 9}, "Source 'lego': 9 rows asked for, 2 found in"),
        ({"caption_column": "image"}, "caption column 'image' holds dict in row 0, not text"),
    ],
)
def test_wrong_settings(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    path = table(tmp_path / "in.parquet", cells(encoded(), encoded()))
    with pytest.raises(UserError) as caught:
        fetched(tmp_path, settings(path, **changes))
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_wrong_paths(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Source 'lego': file 'gone/x\.parquet' does not exist; correct path"):
        fetched(tmp_path, settings("gone/x.parquet"))
    (tmp_path / "text.txt").write_text("x")
    with pytest.raises(UserError, match="is no parquet file"):
        fetched(tmp_path, settings(tmp_path / "text.txt"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="cannot be read"):
        fetched(tmp_path, settings(tmp_path / "empty"))
    (tmp_path / "empty" / "a.png").write_bytes(encoded())
    with pytest.raises(UserError, match=r"cannot be read \(it has no folder 'nope'\)"):
        fetched(tmp_path, settings(tmp_path / "empty", split="nope"))
    with pytest.raises(UserError, match="has no captions, neither in a column"):
        fetched(tmp_path, settings(tmp_path / "empty"))


def test_torn_parquet_files_are_named(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (50, 64, 64, 3), dtype=np.uint8)
    data = [io.BytesIO() for _ in noise]
    for pixels, buffer in zip(noise, data, strict=True):
        Image.fromarray(pixels).save(buffer, "PNG")
    path = table(tmp_path / "in.parquet", cells(*[buffer.getvalue() for buffer in data]))
    whole = path.read_bytes()
    for torn in (whole[:-100], whole[:4000] + b"\0" * 200_000 + whole[204_000:], b"x"):
        path.write_bytes(torn)
        with pytest.raises(UserError, match=r"Source 'lego': '.*in\.parquet' cannot be read"):
            fetched(tmp_path, settings(path))
