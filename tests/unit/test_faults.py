"""Faults of the machine and of files: one sentence for the user, nothing half-written, and no pickle anywhere."""

from __future__ import annotations

import ast
import errno
import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fabricated import compress_shards, write_gradients

from dmin.attribution.gradient_rows import GradientRows
from dmin.retrieval.hnsw import Construction, IndexFiles, build_index
from dmin.retrieval.search import IndexSearch
from dmin.runtime.atomic import write_json
from dmin.runtime.errors import UserError
from dmin.runtime.job import job
from dmin.runtime.provenance import load_array

PROJECT = Path(__file__).parents[2]


def _flip(path: Path, place: int = -1) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


@pytest.fixture
def sketch(tmp_path: Path) -> tuple[Path, Path]:
    """A shard and the sketch made from it."""
    gradients = np.random.default_rng(0).standard_normal((6, 3, 64)).astype(np.float32)
    shard = write_gradients(tmp_path / "a.safetensors", [f"x/{n}" for n in range(6)], gradients)
    return shard, compress_shards([shard], 16, tmp_path / "train.npy")


@pytest.mark.fault("one bit of a sketch flipped", "refused when it is loaded, by its checksum")
def test_flipped_sketch_is_refused(sketch: tuple[Path, Path]) -> None:
    shard, array = sketch
    assert GradientRows([shard], array).all().shape == (6, 3, 16)
    _flip(array)
    with pytest.raises(UserError, match=r"Sketch '.*train\.npy' is torn \(it fails its checksum\); delete it"):
        GradientRows([shard], array)


@pytest.mark.fault("a shard made again under its sketch", "the sketch is refused as made from other shards")
def test_sketch_of_other_shards_is_refused(sketch: tuple[Path, Path]) -> None:
    shard, array = sketch
    write_gradients(shard, [f"x/{n}" for n in range(6)], np.ones((6, 3, 64), np.float32))
    with pytest.raises(UserError, match=r"train\.npy' was made from other shards than these; delete it and run again"):
        GradientRows([shard], array)


@pytest.mark.fault("one bit of an index flipped", "refused when it is loaded, by its checksum")
def test_flipped_index_is_refused(sketch: tuple[Path, Path], tmp_path: Path) -> None:
    index = tmp_path / "index.hnsw"
    files = IndexFiles(index, index.with_suffix(".json"), tmp_path / "metrics.json")
    build_index(sketch[1], Construction(4, 20, 1), files)
    assert IndexSearch(index, sketch[1]).run(10, 2).labels.shape == (6, 2)
    _flip(index, index.stat().st_size // 2)
    with pytest.raises(UserError, match=r"Index '.*index\.hnsw' is torn \(it fails its checksum\)"):
        IndexSearch(index, sketch[1])


@pytest.mark.fault("a pickle in place of an array", "refused and never run")
def test_array_of_objects_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "scores.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match=r"Scores '.*scores\.npy' is torn"):
        load_array(tmp_path / "scores.npy", "scores", "Scores")


def test_no_pickle_is_read_anywhere() -> None:
    texts = {
        path: path.read_text()
        for folder in ("scripts", "rules", "benchmarks")
        for path in sorted((PROJECT / folder).rglob("*"))
        if path.suffix in (".py", ".smk")
    }
    assert len(texts) > 150
    for path, text in texts.items():
        assert not re.search(r"allow_pickle=(?!False)|read_pickle|\bjoblib\b|\bdill\b|\bshelve\b", text), path
        loads = re.findall(r"\b(?:np|numpy)\.load\(([^\n]*)", text)
        assert [call for call in loads if "allow_pickle=False" not in call] == [], path
        assert [call for call in re.findall(r"torch\.load\(([^\n]*)", text) if "weights_only=True" not in call] == []
        # The name of its error is all that is used of the module.
        assert set(re.findall(r"\bpickle\.(\w+)", text)) <= {"UnpicklingError"}, path
        imported = (
            [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)]
            if (path.suffix == ".py")
            else []
        )
        assert [node for node in imported if node.module in ("pickle", "numpy.lib.npyio")] == [], path


def _job(folder: Path, error: BaseException) -> str:
    log = folder / "job.log"
    with pytest.raises(SystemExit) as end, job(SimpleNamespace(log=[str(log)])):
        raise error
    assert end.value.code == 1
    text = log.read_text()
    assert "Traceback" not in text and len(text.splitlines()) == 1
    return text.partition("ERROR ")[2].strip()


@pytest.mark.fault("read-only results", "one sentence that names the file")
def test_read_only_results_are_told(tmp_path: Path) -> None:
    sentence = _job(tmp_path, OSError(errno.EROFS, os.strerror(errno.EROFS), "results/x.json"))
    assert sentence.startswith("'results/x.json' cannot be written or read (Read-only file system); give this user")


@pytest.mark.fault("GPU memory full in training or sampling", "one sentence that names the batch size")
def test_full_gpu_is_told(tmp_path: Path) -> None:
    sentence = _job(tmp_path, torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"))
    assert sentence.startswith("The GPU's memory is full; lower the job's batch size")


def test_full_memory_is_told(tmp_path: Path) -> None:
    assert _job(tmp_path, MemoryError()).startswith("The memory is full; lower the job's batch size")


def _limited(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a few lines in a process of its own that cannot write files beyond 64 KiB."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, 2**16))

    return subprocess.run(
        [sys.executable, "-c", script, str(folder)], preexec_fn=limit, capture_output=True, text=True, check=False
    )


@pytest.mark.fault("disk full while a file is written", "the old file stands, no part is left, the error says so")
def test_write_that_does_not_fit_leaves_the_file_before(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json({"x": 1}, path)
    before = path.read_bytes()
    script = (
        "import sys, pathlib\n"
        "from dmin.runtime.atomic import write_json\n"
        "write_json({'x': list(range(100000))}, pathlib.Path(sys.argv[1]) / 'a.json')\n"
    )
    result = _limited(script, tmp_path)
    assert result.returncode == 1 and "File too large" in result.stderr
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]
