"""Faults in a finished run: what is torn, stale or missing is named, and what stands is never made again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from checkout import MICRO, Checkout
from processes import wait_for

SKETCH = "runs/micro/sketch/loss/v64/train.npy"
SHARD = "runs/micro/gradients/loss/train/00000000-00000040.safetensors"
WEIGHTS = "models/micro/pytorch_lora_weights.safetensors"


KINDS = ("imported", "dataset", "weights", "checkpoints", "shard", "sketch", "index", "scores", "retrieved")


@pytest.fixture
def copied(finished: Checkout, tmp_path: Path) -> Checkout:
    """Return a copy of the finished run in another folder."""
    return Checkout(tmp_path / "elsewhere", finished.root)


def verified(checkout: Checkout) -> tuple[subprocess.CompletedProcess[str], pd.DataFrame]:
    """Ask for the check; return the run and its table by file."""
    result = checkout.snakemake("--cores", "1", "verify")
    table = pd.read_csv(checkout.root / "results" / "verify.csv", keep_default_na=False)
    return result, table.set_index("file")


def result_files(checkout: Checkout) -> set[str]:
    """Return every file of the results that a later step or a person reads."""
    results = checkout.root / "results"
    files = (path.relative_to(results) for path in results.rglob("*") if path.is_file())
    # Benchmarks are written by Snakemake.
    return {str(path) for path in files if not any(part.startswith((".", "benchmarks")) for part in path.parts)}


def others_of_entries(checkout: Checkout) -> set[str]:
    """Return the files that share the row of another: tables of a data set, exact lists, what holds checkpoints."""
    named = ("datasets/", "verify.csv", "models/micro/checkpoints/")
    return {file for file in result_files(checkout) if file.startswith(named) or file.endswith("top.parquet")}


def flip_somewhere(path: Path, generator: np.random.Generator) -> None:
    """Flip a bit of a file, so that it says something else."""
    data = path.read_bytes()
    while True:
        copy = bytearray(data)
        copy[generator.integers(len(copy))] ^= 1 << int(generator.integers(8))
        if path.suffix != ".json" or not says_the_same(data, bytes(copy)):
            path.write_bytes(copy)
            return


def says_the_same(data: bytes, other: bytes) -> bool:
    """Say whether two texts are the same JSON."""
    try:
        return json.loads(data) == json.loads(other)
    except ValueError:
        return False


@pytest.mark.fault("a bit flipped in every file of the results", "`verify` names each of them")
def test_flips_of_every_file_are_found(copied: Checkout) -> None:
    results, generator = copied.root / "results", np.random.default_rng(3)
    files = sorted(result_files(copied))
    for file in files:
        flip_somewhere(results / file, generator)
    result, table = verified(copied)
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert len(files) > 100
    assert [file for file in files if file in table.index and table.loc[file, "status"] == "ok"] == []


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.fault("results copied to another folder", "nothing is made again, and every file is verified there")
def test_copied_results_are_whole_and_up_to_date(copied: Checkout) -> None:
    assert copied.plan() == {}
    result, table = verified(copied)
    assert result.returncode == 0, result.stderr
    assert set(table["status"]) == {"ok"}
    assert set(table["detail"]) == {""}
    # Three shards; two splits at two widths; dmin and dmin_no_norm at three widths, and text.
    kinds = table["kind"].value_counts().to_dict()
    assert {kind: kinds.pop(kind) for kind in KINDS} == {
        "imported": 3,
        "dataset": 1, "weights": 1, "checkpoints": 1, "shard": 3, "sketch": 4, "index": 2, "scores": 7, "retrieved": 2,
    }  # fmt: skip
    # Everything else that stands there has a row by its suffix.
    assert set(kinds) == {"csv", "html", "json", "parquet", "png", "safetensors", "svg"}
    assert sorted(result_files(copied) - set(table.index) - others_of_entries(copied)) == []


@pytest.mark.fault("files of every kind truncated, flipped, foreign or deleted", "`verify` names each and exits with 1")
def test_damage_of_every_kind_is_named(copied: Checkout) -> None:
    results = copied.root / "results"
    index = next((results / "runs/micro/index/v64").glob("*.hnsw"))
    scores = "runs/micro/influence/dmin/v64/scores.npy"
    foreign = "runs/micro/influence/text/scores.json"
    gone = "runs/micro/influence/dmin/v256/exact/top.parquet"
    flip(results / SKETCH)
    flip(results / WEIGHTS)
    flip(index)
    (results / SHARD).write_bytes((results / SHARD).read_bytes()[:-5])
    (results / scores).write_bytes((results / scores).read_bytes()[:200])
    (results / foreign).write_text("{}")
    (results / gone).unlink()
    result, table = verified(copied)
    assert result.returncode == 1
    expected = {
        SKETCH: "torn",
        WEIGHTS: "torn",
        str(index.relative_to(results)): "torn",
        SHARD: "torn",
        scores: "torn",
        foreign.replace(".json", ".npy"): "foreign",
        "runs/micro/influence/dmin/v256/scores.npy": "missing",
    }
    assert {file: table.loc[file, "status"] for file in expected} == expected
    # One line for each on the console, the followers of torn ancestors among them.
    for file, status in expected.items():
        assert f"{status}: {file} (" in result.stderr
    others = table.drop(list(expected))
    # Descriptions are checked with what they describe.
    assert set(others.index[others["status"] == "torn"]) == {"models/micro/model.json"}
    assert set(others["status"]) == {"ok", "stale", "torn"}


@pytest.mark.fault("results of another config", "`verify` names the setting that differs")
def test_other_settings_are_named(copied: Checkout) -> None:
    copied.write_config(MICRO.read_text().replace("cache_dim: 256", "cache_dim: 256\n      sketch_seed: 9"))
    result, table = verified(copied)
    assert result.returncode == 1
    bad = table[table["status"] != "ok"]
    assert set(bad["kind"]) == {"shard"} and set(bad["status"]) == {"stale"}
    assert bad["detail"].str.contains("made with gradients.sketch_seed 42, and the config has 9").all()


@pytest.mark.fault("a file swapped for a whole one of another run", "`verify` names what was made from the one before")
def test_swapped_ancestor_makes_its_followers_stale(copied: Checkout) -> None:
    results = copied.root / "results"
    encoded = results / "encoded/micro/tiny/train.safetensors"
    encoded.write_bytes((results / "runs/micro/queries/queries.safetensors").read_bytes())
    shutil.copy(results / "sources/micro/red.parquet", results / "sources/micro/green.parquet")
    small, large = (f"runs/micro/influence/dmin/v{v}/hnsw/top.parquet" for v in ("64", "256"))
    shutil.copy(results / small, results / large)
    _, table = verified(copied)
    assert table.loc["datasets/micro/dataset.json", ["status", "detail"]].tolist() == [
        "stale", "its green changed since it was made",
    ]  # fmt: skip
    assert table.loc[large, ["status", "detail"]].tolist() == ["stale", "its index changed since it was made"]
    assert table.loc[small, "status"] == "ok"
    assert table.loc[WEIGHTS, ["status", "detail"]].tolist() == ["stale", "its samples changed since it was made"]
    assert table.loc[SHARD, "status"] == "stale"


@pytest.mark.fault("clock skew: all files a day in the future", "nothing is made again")
def test_clock_skew_reruns_nothing(copied: Checkout) -> None:
    for path in copied.root.rglob("*"):
        if path.is_file() and ".snakemake" not in path.parts:
            stat = path.stat()
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 86_400 * 10**9))
    assert copied.plan() == {}


@pytest.mark.fault("results and scripts touched", "nothing is made again, because their contents are equal")
def test_touched_files_rerun_nothing(copied: Checkout) -> None:
    for path in [*(copied.root / "scripts").rglob("*.py"), copied.root / "results" / SKETCH, copied.root / "config"]:
        path.touch()
    assert copied.plan() == {}


@pytest.mark.fault("one file deleted", "it alone is made again, with what follows from it")
def test_deleted_file_is_made_again_alone(copied: Checkout) -> None:
    (copied.root / "results/runs/micro/figures/training.svg").unlink()
    assert copied.plan() == {"plot_training": 1}


@pytest.mark.fault("time limit too short for one step", "two attempts end saved, the third says there is no progress")
def test_limit_too_short_is_told_and_a_longer_one_continues(copied: Checkout) -> None:
    before = (copied.root / "results" / WEIGHTS).read_bytes()
    target = "results/models/micro/model.json"
    options = ["--cores", "1", "--forcerun", "train_model", "--retries", "2", "--set-resources"]
    cut = copied.snakemake(*options, "train_model:runtime=0", "--", target)
    assert cut.returncode == 1
    assert cut.stderr.count("ends after step 0 of 3, saved, because its time limit of 0 minutes is near") == 2
    assert "Training the adapter made no progress: the last 2 attempts" in cut.stderr
    assert "Traceback" not in (copied.root / "logs/train_model/micro.log").read_text()
    whole = copied.snakemake("--cores", "1", "--rerun-incomplete", "--", target)
    assert whole.returncode == 0, whole.stderr
    assert (copied.root / "results" / WEIGHTS).read_bytes() == before


@pytest.mark.fault("a GPU asked for where there is none", "one sentence that names the key")
@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="there is a GPU")
def test_missing_gpu_is_told(copied: Checkout) -> None:
    copied.write_config(MICRO.read_text().replace("device: cpu", "device: cuda"))
    result = copied.snakemake("--cores", "1", "--forcerun", "encode_samples", "--until", "encode_samples")
    assert result.returncode == 1
    assert "Error: compute.device is cuda, but no GPU is usable here; set it to cpu or auto." in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.fault("two Snakemakes in one folder", "the second says that the folder is locked; the first goes on")
def test_second_snakemake_is_locked_out(copied: Checkout) -> None:
    environment = {**os.environ, "PYTHONPATH": str(copied.root / "scripts")}
    environment.pop("SNAKEMAKE_PROFILE", None)
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--forcerun", "encode_queries"]
    command += ["--until", "encode_queries"]
    with subprocess.Popen(command, cwd=copied.root, env=environment, stderr=subprocess.DEVNULL) as first:
        locks = copied.root / ".snakemake" / "locks"
        wait_for(lambda: locks.exists() and len([file for file in locks.iterdir() if file.stat().st_size]) == 2)
        # So that it is still at work when the second one looks.
        first.send_signal(signal.SIGSTOP)
        second = copied.snakemake("--cores", "1", "--forcerun", "encode_queries", "--until", "encode_queries")
        first.send_signal(signal.SIGCONT)
    assert first.returncode == 0
    assert second.returncode == 1 and "LockException" in second.stderr + second.stdout
    assert "--unlock" in second.stderr + second.stdout
