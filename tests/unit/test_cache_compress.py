"""Compression: exact folds of the cached sketches."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from fabricated import CACHE_DIM, METADATA, compress_shards, write_gradients

from dmin.gradients import compress as module
from dmin.gradients.shard import Shard
from dmin.gradients.sketches.count_sketch import CountSketch
from dmin.gradients.sketches.fold import fold
from dmin.runtime.digests import sha256
from dmin.runtime.errors import UserError
from dmin.runtime.readers import read_json

P = 100


@pytest.fixture
def shards(tmp_path: Path) -> list[Path]:
    gradients = np.random.default_rng(0).standard_normal((9, 3, P)).astype(np.float32)
    return [
        write_gradients(
            tmp_path / f"{start}.safetensors", [f"s/{n}" for n in range(start, stop)], gradients[start:stop]
        )
        for start, stop in ((0, 4), (4, 5), (5, 9))
    ]


@pytest.mark.parametrize("width", [1, 4, 16, CACHE_DIM])
def test_compressed_sketches_are_folds_of_the_cache(shards: list[Path], tmp_path: Path, width: int) -> None:
    sketch = compress_shards(shards, width, tmp_path / "out.npy")
    array = np.load(sketch)
    cached = np.concatenate([Shard(path).read("sketch") for path in shards]).astype(np.float32)
    assert array.shape == (9, 3, width) and array.dtype == np.float16
    groups = cached.reshape(9, 3, width, CACHE_DIM // width).sum(-1)
    assert np.array_equal(array, groups.astype(np.float16))
    facts = read_json(sketch.with_suffix(".json"))
    made = facts.pop("provenance")
    assert made["config"] == {"v": width} and made["sha256"] == {"sketch": sha256(sketch)}
    assert facts == {**METADATA, "P": P, "v": width, "ids": [f"s/{n}" for n in range(9)]}
    metrics = json.loads(sketch.with_suffix(".metrics.json").read_text())
    assert metrics["samples"] == 9 and metrics["bytes"] == sketch.stat().st_size


def test_blocks_do_not_matter(shards: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = compress_shards(shards, 8, tmp_path / "one.npy").read_bytes()
    monkeypatch.setattr(module, "BLOCK", 3)
    assert compress_shards(shards, 8, tmp_path / "other.npy").read_bytes() == expected


@pytest.mark.parametrize("width", [16, 4])
def test_fold_is_the_sketch_of_the_smaller_width(shards: list[Path], tmp_path: Path, width: int) -> None:
    unit = np.concatenate([Shard(path).read("raw") for path in shards]).astype(np.float32)
    direct = CountSketch(P, CACHE_DIM, 5).apply(torch.from_numpy(unit.reshape(-1, P))).numpy()
    array = np.load(compress_shards(shards, width, tmp_path / "out.npy"))
    np.testing.assert_allclose(array.reshape(-1, width), fold(direct, width), atol=5e-3)


def test_order_of_ids_follows_the_shards(shards: list[Path], tmp_path: Path) -> None:
    forward = compress_shards(shards, 8, tmp_path / "forward.npy")
    backward = compress_shards(shards[::-1], 8, tmp_path / "backward.npy")
    names = [json.loads(path.with_suffix(".json").read_text())["ids"] for path in (forward, backward)]
    assert names[1] == [f"s/{n}" for n in (5, 6, 7, 8, 4, 0, 1, 2, 3)]
    places = [names[1].index(name) for name in names[0]]
    assert np.array_equal(np.load(forward), np.load(backward)[places])


@pytest.mark.parametrize("width", [5, 24, 64, 0])
def test_width_that_does_not_divide_leaves_nothing_behind(shards: list[Path], tmp_path: Path, width: int) -> None:
    with pytest.raises(UserError, match=f"v={width} does not divide cache_dim {CACHE_DIM}"):
        compress_shards(shards, width, tmp_path / "out" / "train.npy")
    assert not list((tmp_path / "out").iterdir())


def test_torn_and_mixed_shards_are_refused(shards: list[Path], tmp_path: Path) -> None:
    data = bytearray(shards[1].read_bytes())
    data[-1] ^= 1
    shards[1].write_bytes(data)
    with pytest.raises(UserError, match=r"4\.safetensors' fails the checksum of 'sketch'"):
        compress_shards(shards, 8, tmp_path / "out" / "train.npy")
    assert not list((tmp_path / "out").iterdir())
    write_gradients(shards[1], ["s/4"], np.ones((1, 3, P)), sketch_seed=6)
    with pytest.raises(
        UserError, match=r"0\.safetensors' and '.*4\.safetensors' differ in sketch_seed \(5 against 6\)"
    ):
        compress_shards(shards, 8, tmp_path / "out" / "train.npy")


def test_folds_nest() -> None:
    rows = np.random.default_rng(0).integers(-8, 8, (5, 64)).astype(np.float32)
    assert np.array_equal(fold(fold(rows, 16), 4), fold(rows, 4))
    assert np.array_equal(fold(rows, 64), rows)
