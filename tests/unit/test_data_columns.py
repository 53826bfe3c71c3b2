"""Columns of images and of classes: what holds something else is told, and what stands beside bytes does not count."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

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
