"""Shards of the gradient cache: whole or refused, and never mixed across settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fabricated import METADATA, write_gradients
from safetensors.numpy import save_file

from dmin.gradients.shard import Shard, open_shards, require_equal_metadata
from dmin.runtime.errors import UserError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    gradients = np.random.default_rng(0).standard_normal((4, 3, 64)).astype(np.float32)
    return write_gradients(tmp_path / "a.safetensors", ["x/1", "x/2+noise", "y/1", "é/ü"], gradients)


def test_round_trip(path: Path) -> None:
    shard = Shard(path)
    assert shard.ids == ["x/1", "x/2+noise", "y/1", "é/ü"]
    assert shard.metadata == {**METADATA, "P": 64}
    assert shard.read("norm").shape == (4, 3)


def test_equal_contents_give_equal_bytes(path: Path, tmp_path: Path) -> None:
    gradients = np.random.default_rng(0).standard_normal((4, 3, 64)).astype(np.float32)
    again = write_gradients(tmp_path / "b.safetensors", ["x/1", "x/2+noise", "y/1", "é/ü"], gradients)
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.fault("one bit of a shard flipped", "refused when it is read, by its checksum")
@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.999])
def test_checksum_catches_one_flipped_bit(path: Path, share: float) -> None:
    data = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    data[start + int(share * (len(data) - start))] ^= 1
    path.write_bytes(data)
    shard = Shard(path)
    with pytest.raises(UserError, match=r"Gradient shard '.*a\.safetensors' fails the checksum of '.*'; delete it"):
        for name in sorted(shard.names):
            shard.read(name)


def test_changed_header_is_refused(path: Path) -> None:
    data = path.read_bytes()
    assert data.count(b"x/1") == 1
    path.write_bytes(data.replace(b"x/1", b"x/9"))
    with pytest.raises(UserError, match=r"a\.safetensors' is torn or foreign \(its header fails the checksum\)"):
        Shard(path)


@pytest.mark.fault("a shard truncated", "refused and named")
@pytest.mark.parametrize("keep", [0, 7, 20, 500, -1])
def test_truncated_file_is_named(path: Path, keep: int) -> None:
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"Gradient shard '.*a\.safetensors' is torn or foreign"):
        Shard(path)


@pytest.mark.fault("another program's file in place of a shard", "refused and named")
@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"dmin": "{}"}, {"dmin": "no JSON"}])
def test_foreign_files_are_refused(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    path = tmp_path / "foreign.safetensors"
    save_file({"sketch": np.zeros(3, np.float16)}, path, metadata=metadata)
    with pytest.raises(UserError, match=r"foreign\.safetensors' is torn or foreign"):
        Shard(path)


def test_missing_file_and_missing_tensor_are_named(path: Path) -> None:
    with pytest.raises(UserError, match="missing"):
        Shard(path.with_name("missing.safetensors"))
    with pytest.raises(UserError, match=r"a\.safetensors' holds no 'curvature'"):
        Shard(path).read("curvature")


@pytest.mark.fault("shards of two settings mixed", "refused, and the setting is named")
@pytest.mark.parametrize(
    ("field", "value", "shown"),
    [
        ("timesteps", [900, 500, 101], "101"),
        ("noise", {"policy": "shared", "seed": 4}, "'seed': 4"),
        ("sketch_seed", 6, "6"),
        ("model", "another", "'another'"),
        ("new_field", 1, "None against 1"),
    ],
)
def test_other_settings_are_refused_by_field(path: Path, tmp_path: Path, field: str, value: Any, shown: str) -> None:
    gradients = np.ones((1, 3, 64), np.float32)
    other = write_gradients(tmp_path / "b.safetensors", ["z/1"], gradients, **{field: value})
    with pytest.raises(UserError, match=rf"a\.safetensors' and '.*b\.safetensors' differ in {field} .*{shown}"):
        open_shards([path, other])


def test_shards_open_in_the_order_given(path: Path, tmp_path: Path) -> None:
    other = write_gradients(tmp_path / "b.safetensors", ["z/1"], np.ones((1, 3, 64), np.float32))
    assert [shard.path for shard in open_shards([other, path])] == [other, path]


def test_equal_metadata_passes_whatever_its_order() -> None:
    require_equal_metadata({"a": 1, "b": [2]}, {"b": [2], "a": 1}, "one", "other")
