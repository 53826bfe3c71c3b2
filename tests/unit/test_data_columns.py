"""Columns of images and of classes: what holds something else is told, and what stands beside bytes does not count."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from local_sources import cells, encoded, fetched, refusal, settings, table, values

from dmin.runtime.errors import UserError


@pytest.mark.parametrize(
    ("column", "sentence"),
    [
        ([[1, 2], [3, 4]], "holds lists of numbers in place of images"),
        ([[[1.0]], [[2.0]]], "holds lists of numbers in place of images"),
        ([1, 2], "holds numbers in place of images"),
        ([{"url": "x"}] * 2, "holds values of type struct<url: "),
        (
            ["https://example.org/a.png"] * 2,
            "holds addresses ('https://example.org/a.png') in place of images; download",
        ),
        (["iVBORw0KGgoAAAANSUhEUgAAAAYAAAAF"] * 2, "holds base64 text ('iVBORw0KGgo"),
        ([b"/9j/4AAQSkZJRgABAQAAAQABAAD/2wBD"] * 2, "holds base64 text ('/9j/"),
        (["data:image/png;base64,iVBORw0KGgo="] * 2, "holds base64 text ('data:image"),
        (["b'\\x89PNG'"] * 2, "holds the printed form of images"),
        ([[{"bytes": encoded(), "path": None}]] * 2, "holds lists of images in place of images"),
    ],
)
def test_columns_of_something_else_are_told(tmp_path: Path, column: list[Any], sentence: str) -> None:
    assert sentence in refusal(tmp_path, settings(table(tmp_path / "in.parquet", column)))


def test_bytes_count_whatever_path_stands_beside_them(tmp_path: Path) -> None:
    rows = [{"bytes": encoded(3), "path": "/home/someone/a.png"}, {"bytes": encoded(4), "path": "http://x/b.png"}]
    frame = fetched(tmp_path, settings(table(tmp_path / "in.parquet", rows)))
    assert values(frame) == [3, 4] and frame["image"][0]["path"] == "a.png"


@pytest.mark.attack(
    "image", "metadata of a parquet file that is no metadata", "passed over; the column is read as it is"
)
@pytest.mark.parametrize("info", ["[" * 100_000, "{}", '{"info": {"features": 3}}', "\ufffd", "null"])
def test_metadata_of_parquet_files_is_not_trusted(tmp_path: Path, info: str) -> None:
    path = table(tmp_path / "in.parquet", cells(encoded(3)), kind=[1])
    pq.write_table(pq.read_table(path).replace_schema_metadata({"huggingface": info}), path)
    assert fetched(tmp_path, settings(path, label_column="kind"))["label"].tolist() == ["1"]


def test_numbers_beyond_the_classes_are_told(tmp_path: Path) -> None:
    path = table(tmp_path / "in.parquet", cells(encoded(3), encoded(4)), kind=[-1, 2])
    features = {"kind": {"names": ["a", "b"], "_type": "ClassLabel"}}
    info = json.dumps({"info": {"features": features}})
    pq.write_table(pq.read_table(path).replace_schema_metadata({"huggingface": info}), path)
    assert fetched(tmp_path, settings(path, label_column="kind", rows=1))["label"].isna().all()
    with pytest.raises(UserError, match="row 1: a column names 2 classes, but holds the number 2"):
        fetched(tmp_path, settings(path, label_column="kind"))


@pytest.mark.parametrize("key", ["caption_column", "origin_column"])
def test_numbers_beyond_the_classes_are_told_with_their_row(tmp_path: Path, key: str) -> None:
    path = table(tmp_path / "in.parquet", cells(encoded(3), encoded(4)), kind=[0, 2])
    info = json.dumps({"info": {"features": {"kind": {"names": ["a", "b"], "_type": "ClassLabel"}}}})
    pq.write_table(pq.read_table(path).replace_schema_metadata({"huggingface": info}), path)
    assert refusal(tmp_path, settings(path, **{key: "kind"})).startswith("Source 'lego', row 1: a column names 2")


def test_labels_that_are_no_number_are_none(tmp_path: Path) -> None:
    images = pa.array(cells(encoded(3), encoded(4)))
    kinds = pa.array([1.0, float("nan")])
    pq.write_table(pa.table({"image": images, "prompt": ["a", "b"], "kind": kinds}), tmp_path / "in.parquet")
    frame = fetched(tmp_path, settings(tmp_path / "in.parquet", label_column="kind", origin_column="kind"))
    assert frame["label"].fillna("none").tolist() == ["1.0", "none"] and frame["origin"].tolist() == ["1.0", "1.png"]


@pytest.mark.fault("a label that is a list, bytes or a table", "refused; the column and its setting are named")
@pytest.mark.parametrize("key", ["label_column", "origin_column"])
@pytest.mark.parametrize(("value", "kind"), [(["a"], "list"), (b"a", "bytes"), ({"a": 1}, "dict")])
def test_labels_without_a_text_are_refused(tmp_path: Path, key: str, value: Any, kind: str) -> None:
    path = table(tmp_path / "in.parquet", cells(encoded(3)), kind=[value])
    sentence = refusal(tmp_path, settings(path, **{key: "kind"}))
    assert f"row 0: the column 'kind' holds {kind}, not text or numbers; set {key} to another column" in sentence


def test_labels_that_are_found_are_named_where_none_matches(tmp_path: Path) -> None:
    path = table(tmp_path / "in.parquet", cells(*[encoded(n) for n in range(7)]), kind=[1.0, 2, None, 4, 5, 6, 7])
    sentence = refusal(tmp_path, settings(path, label_column="kind", labels=["1"]))
    assert sentence.endswith("correct labels, where the column holds '1.0', '2.0', nothing, '4.0', '5.0' and others.")


@pytest.mark.fault("images that a table names and that are not there", "the row, the file and the cause are named")
def test_missing_images_are_told_as_missing(tmp_path: Path) -> None:
    path = table(tmp_path / "in.parquet", ["a.png", "b.png"])
    with pytest.raises(UserError, match=r"row 1 \(b\.png\) \('a\.png': No such file or directory\); replace"):
        fetched(tmp_path, settings(path))
    assert "(2 unreadable ones left out: 'a.png': No such file" in refusal(tmp_path, settings(path))
    path = table(tmp_path / "in.parquet", [None, {"bytes": encoded(), "path": None}])
    with pytest.raises(UserError, match=r"row 0 \(it holds neither image bytes nor a path\)"):
        fetched(tmp_path, settings(path))


@pytest.mark.fault(
    "`split` of a single parquet file", "refused, because the file has none; it is not read as if it had"
)
@pytest.mark.parametrize("split", ["test", "train[:1]", ""])
def test_split_of_a_file_is_refused(tmp_path: Path, split: str) -> None:
    path = table(tmp_path / "train.parquet", cells(encoded(1), encoded(2)))
    sentence = refusal(tmp_path, settings(path, split=split))
    assert f"(a file has no split '{split}'); leave split out" in sentence


def test_file_without_columns_is_told(tmp_path: Path) -> None:
    pq.write_table(pa.table({}), tmp_path / "in.parquet")
    assert refusal(tmp_path, settings(tmp_path / "in.parquet")).endswith(
        "has no columns; set path to a file of images."
    )
