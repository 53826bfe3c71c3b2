"""What stands in the place of a result, and is another or no file at all, is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fabricated import write_gradients
from rest_files import KINDS, unread

from dmin.gradients.shard import Shard
from dmin.runtime.errors import UserError
from dmin.verify.folders import check_folder
from dmin.verify.records import FaultError, read_record


def _verified(folder: Path) -> set[str]:
    return {status for _, status, _ in check_folder(folder.parent, folder.name, set())}


@pytest.mark.attack("rest", "a folder, a dangling link or nothing in the place of a file", "one sentence; `verify` too")
@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if name not in ("weights", "model")])
@pytest.mark.parametrize("instead", ["folder", "link", "nothing"])
def test_what_is_no_file_is_told(name: str, instead: str, tmp_path: Path) -> None:
    kind, folder = KINDS[name], tmp_path / "results"
    folder.mkdir()
    path = kind.make(folder)
    damaged = kind.damaged(path)
    damaged.unlink()
    if instead == "folder":
        damaged.mkdir()
    elif instead == "link":
        damaged.symlink_to("nowhere")
    if kind.read is not unread:
        with pytest.raises(UserError, match=damaged.name) as error:
            kind.read(path)
        assert "\n" not in str(error.value)
    # What is missing altogether is missed by the row of its own.
    assert "torn" in _verified(folder) or instead == "nothing"


@pytest.mark.attack("rest", "two whole shards in each other's place", "each refused when it is read, and by `verify`")
def test_swapped_shards_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    values = np.random.default_rng(0).standard_normal((4, 3, 64)).astype(np.float32)
    names = [f"{start:08d}-{start + 2:08d}.safetensors" for start in (0, 2)]
    paths = [
        write_gradients(folder / name, [f"red/{row}" for row in (start, start + 1)], values[start : start + 2])
        for start, name in zip((0, 2), names, strict=True)
    ]
    assert _verified(folder) == {"ok"}
    first, second = (path.read_bytes() for path in paths)
    paths[0].write_bytes(second)
    paths[1].write_bytes(first)
    for path, other in zip(paths, reversed(paths), strict=True):
        with pytest.raises(UserError, match=rf"is torn or foreign \(it was written as '{other.stem}'\)"):
            Shard(path)
    assert _verified(folder) == {"torn"}


@pytest.mark.parametrize("name", ["score ids", "index ids", "sketch ids", "model"])
def test_json_of_another_kind_is_told(name: str, tmp_path: Path) -> None:
    kind, folder = KINDS[name], tmp_path / "results"
    folder.mkdir()
    path = kind.make(folder)
    kind.damaged(path).write_text("[]")
    with pytest.raises(UserError, match=r"is torn \(it holds no object\); delete it and run again"):
        kind.read(path)
    assert "torn" in _verified(folder)


def test_verify_goes_on_after_what_cannot_be_read(tmp_path: Path) -> None:
    path = KINDS["scores"].make(tmp_path)
    files = {"scores": path}
    for spoil in (
        lambda: path.with_suffix(".json").write_text('{"provenance": {"sha256": {"scores": "0"}}}'),
        path.unlink,
        path.mkdir,
    ):
        spoil()
        with pytest.raises(FaultError) as fault:
            read_record("scores", files)
        assert fault.value.status in ("torn", "missing")
