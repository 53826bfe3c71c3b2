"""Assembly: counts, ids, noise, determinism and its errors."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from icc import turned_profile
from PIL import Image

from dmin.data.assembly import AssembledFiles, assemble_dataset, split_counts
from dmin.data.images import encode_png
from dmin.data.samples import read_samples, sample_pixels, write_samples
from dmin.runtime.errors import UserError
from dmin.workflow.datasets import Dataset, SplitCounts

CONFIG: dict[str, Any] = {
    "size": 8,
    "noise": {"fraction": 0.1, "std": 0.1},
    "train_fraction": 0.8,
    "test_sources": [],
    "classes": None,
    "convert_profiles": True,
    "seed": 0,
}


def _source(path: Path, rows: int, value: int) -> Path:
    generator = np.random.default_rng(value)
    pixels = generator.integers(0, 255, (rows, 10, 12, 3), dtype=np.uint8)
    images = [{"bytes": encode_png(Image.fromarray(p)), "path": None} for p in pixels]
    frame = pd.DataFrame(
        {"image": pd.Series(images, dtype=object), "prompt": [f"{path.stem} {i}" for i in range(rows)]}
    )
    write_samples(frame.assign(label=None, origin=[f"o{i}" for i in range(rows)], repeats=1), path)
    return path


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, Path]:
    return {name: _source(tmp_path / f"{name}.parquet", 20, i) for i, name in enumerate(("b", "a"))}


def _assemble(sources: dict[str, Path], folder: Path, **changes: Any) -> tuple[pd.DataFrame, pd.DataFrame, Any]:
    paths = [folder / name for name in ("train.parquet", "test.parquet", "dataset.json", "duplicates.csv")]
    assemble_dataset(sources, CONFIG | changes, AssembledFiles(*paths))  # type: ignore[arg-type]
    return read_samples(paths[0]), read_samples(paths[1]), json.loads(paths[2].read_text())


def test_colour_profiles_are_converted_unless_asked_not_to(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (10, 10), (255, 0, 0)).save(buffer, "PNG", icc_profile=turned_profile())
    images = pd.Series([{"bytes": buffer.getvalue(), "path": None}] * 4)
    frame = pd.DataFrame({"image": images, "prompt": "p", "label": None, "origin": "o", "repeats": 1})
    write_samples(frame, tmp_path / "a.parquet")
    changes: dict[str, Any] = {"noise": {"fraction": 0, "std": 0}, "train_fraction": 0.5}
    fingerprints = set()
    for convert, colour in ((True, [0, 255, 0]), (False, [255, 0, 0])):
        train, _, summary = _assemble({"a": tmp_path / "a.parquet"}, tmp_path, **changes, convert_profiles=convert)
        assert np.abs(sample_pixels(train)[0, 4, 4].astype(int) - colour).max() <= 3
        fingerprints.add(summary["fingerprint"])
    assert len(fingerprints) == 2


def test_counts_of_the_paper() -> None:
    assert split_counts(11_059, 0.05, 0.8) == (552, 11_611, 9_288)
    assert split_counts(11_059, 0.0, 0.8) == (0, 11_059, 8_847)
    assert split_counts(1_200, 0.05, 0.8) == (60, 1_260, 1_008)


@pytest.mark.parametrize("percent", range(1, 100))
def test_counts_do_not_lose_a_row_to_floating_point(percent: int) -> None:
    assert split_counts(100, percent / 100, 0.5)[0] == percent
    assert split_counts(100, 0.0, percent / 100)[2] == percent


def test_tables_hold_every_row_once_and_the_copies(sources: dict[str, Path], tmp_path: Path) -> None:
    train, test, summary = _assemble(sources, tmp_path / "out")
    assert (len(train), len(test)) == (35, 9)
    assert list(train.columns) == ["id", "subset", "prompt", "label", "origin", "repeats", "image"]
    rows = pd.concat([train, test]).set_index("id")
    originals = {f"{name}/{i}" for name in "ab" for i in range(20)}
    assert rows.index.is_unique and originals < set(rows.index)
    copies = rows[rows["subset"] == "noise"]
    assert len(copies) == 4 and set(copies.index) == {f"{origin}+noise" for origin in copies["origin"]}
    assert (copies["prompt"].to_numpy() == rows.loc[copies["origin"], "prompt"].to_numpy()).all()
    assert [rows.at["b/7", column] for column in ("subset", "prompt", "origin")] == ["b", "b 7", "o7"]
    assert rows["label"].isna().all()

    pixels = sample_pixels(rows.reset_index())
    assert pixels.shape == (44, 8, 8, 3)
    by_id = dict(zip(rows.index, pixels.astype(float), strict=True))
    for sample_id, origin in copies["origin"].items():
        assert 5 < np.abs(by_id[str(sample_id)] - by_id[origin]).mean() < 40

    counts = {"train": train["subset"].value_counts().to_dict(), "test": test["subset"].value_counts().to_dict()}
    assert summary["counts"] == counts
    assert {key: summary[key] for key in ("size", "seed")} == {"size": 8, "seed": 0}
    assert train["id"].tolist() != sorted(train["id"])


def test_every_row_may_be_trained_on(sources: dict[str, Path], tmp_path: Path) -> None:
    train, test, summary = _assemble(sources, tmp_path / "out", train_fraction=1)
    assert len(train) == 44 and len(test) == 0 and list(test.columns) == list(train.columns)
    assert summary["counts"]["test"] == {}


def test_repeats_come_along_and_are_part_of_the_data(sources: dict[str, Path], tmp_path: Path) -> None:
    fingerprint = _assemble(sources, tmp_path / "one")[2]["fingerprint"]
    write_samples(read_samples(sources["a"]).assign(repeats=7), sources["a"])
    train, test, summary = _assemble(sources, tmp_path / "two")
    rows = pd.concat([train, test]).set_index("id")["repeats"]
    assert {name: set(rows[rows.index.str.startswith(name)]) for name in "ab"} == {"a": {7}, "b": {1}}
    assert summary["fingerprint"] != fingerprint


def _photo(seed: int, side: int = 64) -> Image.Image:
    """Return a smooth picture, as photos are."""
    small = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)


def test_duplicates_are_told_with_their_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    photo, buffer = _photo(0), io.BytesIO()
    photo.save(buffer, "JPEG", quality=60)
    retouched = Image.fromarray(np.clip(np.asarray(photo, dtype=int) + 3, 0, 255).astype(np.uint8))
    files = {
        "a.png": encode_png(photo), "b.png": encode_png(photo), "stored again.jpg": buffer.getvalue(),
        "brighter.png": encode_png(retouched), "larger.png": encode_png(_photo(0, 100)),
        "mirrored.png": encode_png(photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
        "red.png": encode_png(Image.new("RGB", (64, 64), "red")),
        "blue.png": encode_png(Image.new("RGB", (64, 64), "blue")),
        **{f"other {number}.png": encode_png(_photo(number)) for number in range(1, 40)},
    }  # fmt: skip
    images = pd.Series([{"bytes": data, "path": None} for data in files.values()])
    frame = pd.DataFrame({"image": images, "prompt": "p", "label": None, "origin": list(files), "repeats": 1})
    write_samples(frame, tmp_path / "s.parquet")
    _assemble({"s": tmp_path / "s.parquet"}, tmp_path / "out", size=64)
    found = pd.read_csv(tmp_path / "out" / "duplicates.csv").set_index("file")
    assert found["of_file"].to_dict() == dict.fromkeys(
        ["b.png", "stored again.jpg", "brighter.png", "larger.png"], "a.png"
    )
    assert found["kind"].tolist() == ["exact", "near", "near", "near"] and found.at["b.png", "distance"] == 0
    assert found.at["b.png", "sample"] == "s/1" and found.at["b.png", "of"] == "s/0"
    assert set(found["split"]) <= {"train", "test"}
    assert (
        "1 exact duplicates: b.png = a.png" in caplog.text
        and "3 near duplicates: stored again.jpg = a.png" in caplog.text
    )


def test_named_sources_are_the_test_set_and_copies_are_of_the_others(tmp_path: Path) -> None:
    sources = {}
    for number, (name, rows) in enumerate({"train": 30, "test": 10}.items()):
        sources[name] = _source(tmp_path / f"{name}.parquet", rows, number)
        table = read_samples(sources[name])
        write_samples(table.assign(label=["x", "y"] * (rows // 2)), sources[name])
    changes = {"test_sources": ["test"], "classes": ["x", "y"], "noise": {"fraction": 0.2, "std": 0.1}}
    train, test, summary = _assemble(sources, tmp_path / "out", **changes)
    assert set(test["id"]) == {f"test/{n}" for n in range(10)} and len(train) == 36
    assert not train["id"].str.startswith("test").any() and summary["counts"]["train"]["noise"] == 6
    settings = {
        **CONFIG,
        **changes,
        "sources": [{"name": name, "rows": rows} for name, rows in (("train", 30), ("test", 10))],
    }
    assert Dataset("d", settings).counts == SplitCounts(6, 46, 36)  # type: ignore[arg-type]


def test_same_input_gives_the_same_bytes(sources: dict[str, Path], tmp_path: Path) -> None:
    _assemble(sources, tmp_path / "one")
    _assemble(sources, tmp_path / "two")
    for name in ("train.parquet", "test.parquet", "dataset.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    made = {"train.parquet", "test.parquet", "dataset.json", "duplicates.csv", ".sha256"}
    assert {path.name for path in (tmp_path / "one").iterdir()} == made


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"size": 9}, {"train_fraction": 0.7}, {"noise": {"fraction": 0.1, "std": 0.2}}],
)
def test_fingerprint_sees_what_matters(sources: dict[str, Path], tmp_path: Path, change: dict[str, Any]) -> None:
    fingerprint = _assemble(sources, tmp_path / "one")[2]["fingerprint"]
    assert _assemble(sources, tmp_path / "two", **change)[2]["fingerprint"] != fingerprint


def test_fingerprint_does_not_see_the_encoding(sources: dict[str, Path], tmp_path: Path) -> None:
    fingerprint = _assemble(sources, tmp_path / "one")[2]["fingerprint"]
    frame = read_samples(sources["a"])
    frame.to_parquet(sources["a"], compression="gzip", row_group_size=3)
    assert _assemble(sources, tmp_path / "two")[2]["fingerprint"] == fingerprint


def test_bad_sources(sources: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Source 'noise' has the name of the noised copies"):
        _assemble(sources | {"noise": sources["a"]}, tmp_path / "out")
    with pytest.raises(UserError, match=r"Source 'a/b' has '/' or '\+' in its name"):
        _assemble({"a/b": sources["a"]}, tmp_path / "out")
    with pytest.raises(UserError, match="no sources"):
        _assemble({}, tmp_path / "out")
    with pytest.raises(UserError, match="Subset 'tiny' has no row in the test split"):
        _assemble(sources | {"tiny": _source(tmp_path / "tiny.parquet", 1, 3)}, tmp_path / "out")
    with pytest.raises(UserError, match=r"gone\.parquet' does not exist"):
        _assemble(sources | {"gone": tmp_path / "gone.parquet"}, tmp_path / "out")
    assert not (tmp_path / "out" / "train.parquet").exists()


def test_a_failure_leaves_no_file(sources: dict[str, Path], tmp_path: Path) -> None:
    frame = read_samples(sources["a"])
    frame["image"][3]["bytes"] = b"torn"
    write_samples(frame, sources["a"])
    with pytest.raises(UserError, match="Image 'a/3' is unreadable"):
        _assemble(sources, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
