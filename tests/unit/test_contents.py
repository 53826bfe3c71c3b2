"""Digests of the contents of a user's files."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from run_config import PROJECT, config

from dmin.runtime.digests import base_digest
from dmin.workflow import contents as module
from dmin.workflow.contents import Contents
from dmin.workflow.job_contents import JobContents
from dmin.workflow.tables import read_tables


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let files count as settled at once."""
    monkeypatch.setattr(module, "SETTLED_NS", -(10**9))


def write(folder: Path, **files: bytes) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def test_contents_and_names_count_and_dates_and_places_do_not(tmp_path: Path) -> None:
    one, two = (write(tmp_path / name, a=b"1", b=b"2") for name in ("one", "two"))
    store = tmp_path / "store"
    digest = Contents(store).digest(str(one))
    assert digest and digest == Contents(store).digest(str(two))
    (one / "a").touch()
    assert Contents(store).digest(str(one)) == digest
    (one / "a").rename(one / "c")
    assert Contents(store).digest(str(one)) != digest
    (one / "c").rename(one / "a")
    assert Contents(store).digest(str(one)) == digest


def test_file_rewritten_in_place_under_its_old_date_is_read_again(tmp_path: Path) -> None:
    file, store = write(tmp_path, a=b"1234") / "a", tmp_path / "store"
    digest, before = Contents(store).digest(str(file)), file.stat()
    file.write_bytes(b"1235")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert Contents(store).digest(str(file)) != digest


def test_what_was_read_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, store = write(tmp_path / "f", a=b"1", b=b"2"), tmp_path / "store"
    digest, read = Contents(store).digest(str(folder)), []
    original = module._file_sha256

    def count(path: Path) -> str:
        read.append(path.name)
        return original(path)

    monkeypatch.setattr(module, "_file_sha256", count)
    assert Contents(store).digest(str(folder)) == digest and read == []
    (folder / "b").write_bytes(b"3")
    assert Contents(store).digest(str(folder)) != digest and read == ["b"]


@pytest.mark.parametrize(
    "torn", [b"", b"{", b"[]\n[]", b"\xff", b'{"seal": 1}\n{"a": 3}', b'{"seal": "x"}\n{"a": [[1], 2]}']
)
def test_torn_store_is_read_afresh(torn: bytes, tmp_path: Path) -> None:
    folder, store = write(tmp_path / "f", a=b"1"), tmp_path / "store"
    digest = Contents(store).digest(str(folder))
    (place,) = store.iterdir()
    place.write_bytes(torn)
    assert Contents(store).digest(str(folder)) == digest


def test_file_that_just_changed_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SETTLED_NS", 60 * 10**9)
    folder, store = write(tmp_path / "f", a=b"1"), tmp_path / "store"
    Contents(store).digest(str(folder))
    (place,) = store.iterdir()
    assert place.read_text() == "{}\n{}"


def test_only_regular_files_of_the_asked_kind_count(tmp_path: Path) -> None:
    folder, store = write(tmp_path / "f", **{"unet/a.safetensors": b"1", "notes.md": b"2"}), tmp_path / "store"
    os.mkfifo(folder / "pipe.json")
    (folder / "gone.json").symlink_to(tmp_path / "nothing")
    (folder / "loop").symlink_to(folder)
    digest = Contents(store).weights(str(folder))
    (folder / "notes.md").write_bytes(b"3")
    assert Contents(store).weights(str(folder)) == digest
    (folder / "unet" / "a.safetensors").write_bytes(b"3")
    assert Contents(store).weights(str(folder)) != digest
    assert Contents(store).digest("owner/name") == "" == Contents(store).digest(str(folder / "pipe.json"))


@pytest.mark.fault(
    "a link from one folder of a base to another, as unet to unet_v1, is set to lead elsewhere",
    "what is made from the base is made again",
)
@pytest.mark.parametrize("absolute", [False, True])
def test_where_links_to_folders_lead_counts(tmp_path: Path, absolute: bool) -> None:
    base, store = tmp_path / "base", tmp_path / "store"
    files = {f"unet_v{number}/a.safetensors": str(number).encode() for number in (1, 2)}
    write(base, **files, **{"model_index.json": b"{}"})

    def digests(base: Path = base) -> tuple[str, str]:
        return Contents(store).weights(str(base)), base_digest({"family": "stable_diffusion", "path": str(base)})

    assert digests() == ("ed805db46e6f29b6", "4911326e549dd7eb"), "without a link it is of the files alone"
    found = [digests()]
    for number in (1, 2):
        (base / "unet").unlink(missing_ok=True)
        (base / "unet").symlink_to((base if absolute else Path()) / f"unet_v{number}")
        found.append(digests())
        assert digests() == found[-1]
    assert all(len(set(column)) == 3 for column in zip(*found, strict=True))
    if not absolute:
        base.rename(tmp_path / "moved")
        assert digests(tmp_path / "moved") == found[-1]


@pytest.mark.fault(
    "the lora_alpha in adapter_config.json beside an adapter that is named by its file is corrected",
    "the adapter is imported again, with the scale of its alpha, and with it what was made from it",
)
def test_settings_beside_an_adapter_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = write(tmp_path / "own", **{"mine.safetensors": b"1", "other.json": b"{}"}) / "mine.safetensors"
    given = config(["dmin"])
    given["models"]["m"] = {"dataset": "d", "base": "b", "weights": {"path": str(file)}}
    given.pop("banks")

    def own() -> tuple[str, list[str]]:
        found = read_tables(given, PROJECT)
        return JobContents(found, lambda _: None).own(SimpleNamespace(model="m")), found.models["m"].own_files

    alone, files = own()
    assert alone == f"own {Contents(tmp_path / 'store').weights(str(file))}" and files == [str(file)]
    settings = file.with_name("adapter_config.json")
    digests = [alone]
    for alpha in (4, 16):
        settings.write_text(f'{{"lora_alpha": {alpha}}}')
        digest, files = own()
        assert files == [str(file), str(settings)]
        digests.append(digest)
    assert len(set(digests)) == 3
    file.with_name("other.json").write_text("[]")
    assert own()[0] == digests[-1]


def test_store_that_cannot_be_written_changes_nothing_but_time(tmp_path: Path) -> None:
    folder = write(tmp_path / "f", a=b"1")
    (tmp_path / "file").touch()
    assert Contents(tmp_path / "file" / "store").digest(str(folder)) == Contents(tmp_path / "s").digest(str(folder))


def test_much_to_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TOLD_BYTES", 3)
    told: list[str] = []
    Contents(tmp_path / "s", told.append).digest(str(write(tmp_path / "f", a=b"12", b=b"34")))
    assert len(told) == 1 and "once, to see later when it changes" in told[0]
