"""A disk that fills up under each kind of writer, and what killed writers leave."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from rest_files import TRAIN
from tiny_pipeline import random_samples

from dmin.data.samples import write_samples
from dmin.figures.style import save_figure
from dmin.gradients.shard import write_shard
from dmin.retrieval import hnsw
from dmin.retrieval.hnsw import Construction, IndexFiles, build_index
from dmin.runtime.atomic import atomic_path, write_array, write_csv, write_json, write_parquet
from dmin.runtime.job import job
from dmin.runtime.provenance import provenance
from dmin.runtime.temporaries import temporary_name

VALUES = np.random.default_rng(0).standard_normal((1200, 256))


def _index(folder: Path) -> None:
    sketch = folder.parent / "train.npy"
    write_array(VALUES.astype(np.float16).reshape(1200, 1, 256), sketch)
    facts = {"ids": [f"red/{n}" for n in range(1200)], "v": 256, "provenance": provenance({}, {}, {"sketch": sketch})}
    write_json(facts, sketch.with_suffix(".json"))
    files = IndexFiles(folder / "a.hnsw", folder.parent / "a.json", folder.parent / "a.metrics.json")
    build_index(sketch, Construction(4, 10, 1), files)


def _figure(form: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        figure = Figure(figsize=(12, 12))
        figure.add_subplot().imshow(VALUES[:256] if form == "png" else VALUES[:64])
        for number in range(400 if form == "svg" else 0):
            figure.axes[0].plot(VALUES[number])
        save_figure(figure, [folder / f"a.{form}"], 200)

    return write


def _images(folder: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1500, 1000), dtype=np.uint8)
    cells = [{"bytes": row.tobytes(), "path": None} for row in noise]
    write_samples(pd.DataFrame({"id": range(len(cells)), "image": cells}).astype({"id": str}), folder / "a.parquet")


WRITERS: dict[str, Callable[[Path], None]] = {
    "array": lambda folder: write_array(VALUES, folder / "a.npy"),
    "parquet": lambda folder: write_parquet(pd.DataFrame(VALUES, columns=map(str, range(256))), folder / "a.parquet"),
    "samples": _images,
    "json": lambda folder: write_json({"values": VALUES.ravel().tolist()}, folder / "a.json"),
    "csv": lambda folder: write_csv(pd.DataFrame(VALUES), folder / "a.csv"),
    "encoded": lambda folder: random_samples(2000).save(folder / "a.safetensors"),
    "shard": lambda folder: write_shard(folder / "a.safetensors", TRAIN, {}, {"sketch": VALUES}),
    "index": _index,
    "svg": _figure("svg"),
    "png": _figure("png"),
}


@pytest.mark.fault("disk full under each kind of writer", "one sentence, nothing half-made; what stood before stands")
@pytest.mark.parametrize("kind", WRITERS)
def test_full_disk_is_told_by_every_writer(
    small_disk: Path, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hnsw, "require_space", lambda index, needed: None)
    folder, log = small_disk / "out", tmp_path / "job.log"
    folder.mkdir()
    # Room for a part of what comes.
    (small_disk / "filler").write_bytes(bytes(900_000))
    with pytest.raises(SystemExit) as end, job(SimpleNamespace(log=[str(log)])):
        WRITERS[kind](folder)
    assert end.value.code == 1
    told = log.read_text()
    assert "The disk is full" in told and "Traceback" not in told
    assert [path for path in folder.rglob("*") if path.is_file()] == []


def _left(path: Path, process: int, place: str | None = None) -> Path:
    """Write what a process would leave of ``path``."""
    name = temporary_name(path, "0123abcd").replace(f"-{os.getpid()}-", f"-{process}-")
    if place is not None:
        name = f".{path.stem}.{place}{process}-0123abcd.tmp{path.suffix}"
    path.with_name(name).write_text("half")
    return path.with_name(name)


@pytest.fixture
def processes() -> Iterator[tuple[int, int]]:
    """Return the numbers of a process that lives and of one that is dead."""
    living = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    yield living.pid, dead.pid
    living.communicate(b"\n")


@pytest.mark.fault(
    "half-written files of killed writers", "removed by the next writer of the file; a living one's stay"
)
def test_dead_writers_are_swept_up_after(processes: tuple[int, int], tmp_path: Path) -> None:
    path, other = tmp_path / "a.csv", tmp_path / "a.b.csv"
    alive, dead = (_left(path, process) for process in processes)
    elsewhere, old, without = _left(path, 1, "deadbeef-"), _left(path, 2, "deadbeef-"), _left(path, processes[1], "")
    foreign = _left(other, processes[1])
    yesterday = time.time() - 2 * 86_400
    os.utime(old, (yesterday, yesterday))
    write_csv(pd.DataFrame({"a": [1]}), path)
    kept = {alive, elsewhere, without, foreign, path}
    assert not dead.exists() and {file for file in tmp_path.iterdir() if file.is_file()} == kept


def test_own_unfinished_file_survives_another_writer_of_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with atomic_path(path) as first:
        first.write_text("one")
        with atomic_path(path) as second:
            second.write_text("two")
        assert first.read_text() == "one" and path.read_text() == "two"
    assert path.read_text() == "one"
