"""Files appear complete or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dmin.runtime.atomic import atomic_folder, atomic_path, write_csv, write_json, write_parquet
from dmin.runtime.readers import read_json


def test_success_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.npy"
    with atomic_path(path) as temporary:
        assert temporary.parent == path.parent and temporary.suffix == ".npy"
        temporary.write_text("one")
        assert not path.exists()
    with atomic_path(path) as temporary:
        temporary.write_text("two")
        assert path.read_text() == "one"
    assert path.read_text() == "two"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_failure_keeps_the_old_file(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_json_is_sorted_strict_and_takes_numpy_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json({"b": np.int64(2), "a": [np.float32(0.5), "é"]}, path)
    assert path.read_text(encoding="utf-8").startswith('{\n "a"') and path.read_bytes().endswith(b"}\n")
    assert read_json(path) == {"a": [0.5, "é"], "b": 2}
    with pytest.raises(ValueError):
        write_json({"a": float("nan")}, path)
    assert json.loads(path.read_text(encoding="utf-8"))["b"] == 2


def test_csv_floats_read_back_exactly(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal(200) * 10.0 ** np.arange(-100, 100)
    write_csv(pd.DataFrame({"x": values, "v": [None, *["full"] * 199]}), tmp_path / "a.csv")
    text = (tmp_path / "a.csv").read_bytes()
    assert text.endswith(b"\n") and b"\r" not in text
    assert [float(line.split(",")[0]) for line in text.decode().splitlines()[1:]] == values.tolist()


def test_parquet_bytes_are_deterministic(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1.5, 2.0], "b": ["x", None]}, index=[7, 9])
    write_parquet(frame, tmp_path / "a.parquet")
    write_parquet(frame, tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert list(pd.read_parquet(tmp_path / "a.parquet").columns) == ["a", "b"]


def test_a_folder_that_cannot_take_its_place_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, rename = tmp_path / "made", Path.rename
    with atomic_folder(folder) as temporary:
        (temporary / "old").write_text("old")
    asked: list[Path] = []

    def fails_once(source: Path, target: Path) -> Path:
        asked.append(source)
        if len(asked) == 2:
            raise OSError("no")
        return rename(source, target)

    monkeypatch.setattr(Path, "rename", fails_once)
    with pytest.raises(OSError, match="no"), atomic_folder(folder) as temporary:
        (temporary / "new").write_text("new")
    assert len(asked) == 3 and [path.name for path in tmp_path.iterdir()] == ["made"]
    assert [path.name for path in folder.iterdir()] == ["old"]


def test_a_folder_that_cannot_come_back_is_not_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, rename = tmp_path / "made", Path.rename
    with atomic_folder(folder) as temporary:
        (temporary / "old").write_text("old")

    def fails_at_its_place(source: Path, target: Path) -> Path:
        if target == folder:
            raise OSError("no")
        return rename(source, target)

    monkeypatch.setattr(Path, "rename", fails_at_its_place)
    with pytest.raises(OSError, match="no"), atomic_folder(folder):
        pass
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["old"]
