"""Every long rule, killed at random moments, continues to the files of an undisturbed run; and a disk that is full."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from processes import is_killed
from tiny_base import base_config
from tiny_pipeline import SIZE, cache_lissa_shard, gradient_config, make_shard, random_samples
from tiny_training import ADAPTER, retrained, retraining_job, train_adapter

from dmin.data.samples import write_samples
from dmin.gradients import gauss_newton
from dmin.gradients.gradient_pass import GradientPass
from dmin.models.base.pipeline import train_base
from dmin.models.load import TrainedModel
from dmin.models.queries.generate import generate_queries
from dmin.models.queries.record_trajectory import record_trajectory
from dmin.models.training.pace import TrainingPace
from dmin.models.training.task import Recipe, TrainingFiles, TrainingTask
from dmin.models.training.train_model import train_model
from dmin.retraining.losses import measure_losses
from dmin.retraining.retrain import retrain_subsets
from dmin.runtime.job import job
from dmin.runtime.pace import Pace

Work = Callable[[Path], None]
FULL: dict[str, Any] = {
    **ADAPTER, "finetune": "full", "train": {**ADAPTER["train"], "steps": 5, "checkpoints": []}
}  # fmt: skip
KILLS = 2


@pytest.fixture
def works(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Mapping[str, Callable[[], Work]]:
    """Return, by rule, what makes ready and returns the job that writes into a folder."""
    base, adapter, samples = (request.getfixturevalue(name) for name in ("tiny_base", "tiny_adapter", "tiny_samples"))

    def train_full(folder: Path) -> None:
        names = ("pipeline", "model.json", "training.csv", "checkpoints", "log.parquet")
        files = TrainingFiles(*(folder / name for name in names))
        train_model(TrainingTask(samples, Recipe(base, FULL), files), TrainingPace("cpu", 2))

    def lissa() -> Work:
        queries = tmp_path / "queries.safetensors"
        random_samples(3, seed=9, prefix="q").save(queries)
        # The largest eigenvalues take most of the time, and before anything is saved; a rough one will do here.
        monkeypatch.setattr(gauss_newton, "POWER_STEPS", 3)
        return lambda folder: cache_lissa_shard(folder, base, adapter, samples, queries, 2) and None

    def trajectory() -> Work:
        rows = {"id": ["flags/1", "flags/2"], "subset": ["flags"] * 2, "prompt": ["a red flag", "a blue brick"]}
        rows["label"] = [None] * 2
        write_samples(pd.DataFrame(rows), tmp_path / "test.parquet")
        sampling = {"per_subset": 3, "seed": 1, "steps": 5, "guidance": 3.0, "size": SIZE}
        queries = tmp_path / "queries.parquet"
        model = TrainedModel(base, adapter)
        generate_queries(tmp_path / "test.parquet", model, sampling, ["flags"], queries, Pace("cpu", 3))
        return lambda folder: record_trajectory(queries, model, sampling, folder / "t.safetensors", Pace("cpu", 1))

    def retraining() -> Work:
        given = retraining_job(tmp_path)
        return lambda folder: retrain_subsets(**{**given, "out": folder / "models"})

    def losses() -> Work:
        given = retraining_job(tmp_path)
        retrain_subsets(**given)
        rest = (retrained(given), given["samples"], {"timesteps": 4, "seed": 9})
        return lambda folder: measure_losses(*rest, folder / "losses.parquet", Pace("cpu", 4))

    def whole_base() -> Work:
        config = base_config(tmp_path)
        return lambda folder: train_base(config, folder / "base", folder / "state", TrainingPace("cpu", 1))

    return {
        "train_base": whole_base,
        "train_model": lambda: lambda folder: train_adapter(base, samples, folder) and None,
        "train_full": lambda: train_full,
        "cache_gradients": lambda: lambda folder: make_shard(folder, base, adapter, samples, batch=1) and None,
        "cache_lissa": lissa,
        "record_trajectory": trajectory,
        "retrain_subsets": retraining,
        "measure_losses": losses,
    }


def _files(folder: Path) -> dict[str, bytes]:
    """Return the finished files of a folder, but for what a run measures of itself."""
    paths = (path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".metrics.json"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths if ".tmp" not in path.name}


@pytest.mark.fault("SIGKILL at random moments of every long rule", "continues to the same bytes, however often")
@pytest.mark.parametrize(
    "rule",
    [
        "train_base", "train_model", "train_full", "cache_gradients", "cache_lissa", "record_trajectory",
        "retrain_subsets", "measure_losses",
    ],
)  # fmt: skip
def test_sigkill_at_random_moments(works: Mapping[str, Callable[[], Work]], rule: str, tmp_path: Path) -> None:
    work = works[rule]()
    start = time.monotonic()
    work(tmp_path / "whole")
    lasts = time.monotonic() - start
    for moment in np.random.default_rng(0).uniform(0.1, 0.9, KILLS):
        while not is_killed(moment * lasts, partial(work, tmp_path / "cut")):
            # The first time also loads what later ones find loaded, and another process may have slowed it down.
            shutil.rmtree(tmp_path / "cut")
            lasts /= 2
        # On a machine so slow that nothing was saved, attempts would be refused, which is another test's matter.
        for note in tmp_path.glob("cut/**/attempts.json"):
            note.unlink()
    work(tmp_path / "cut")
    assert _files(tmp_path / "cut") == _files(tmp_path / "whole")


@pytest.mark.fault(
    "disk full in the middle of a gradient cache", "one sentence; finished rows stay and it continues to the same bytes"
)
def test_small_disk_fills_up_under_a_gradient_cache(
    small_disk: Path,
    tiny_base: Mapping[str, Any],
    tiny_adapter: Path,
    tiny_samples: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def make(folder: Path) -> Path:
        return make_shard(folder, tiny_base, tiny_adapter, tiny_samples, gradient_config()).path

    whole = make(tmp_path / "whole").read_bytes()
    filler, compute, calls = small_disk / "filler", GradientPass.compute, 0

    def fill(self: GradientPass, rows: list[tuple[int, int]]) -> dict[str, torch.Tensor]:
        nonlocal calls
        calls += 1
        if calls == 3:
            with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
                while True:
                    file.write(bytes(4096))
        return compute(self, rows)

    monkeypatch.setattr(GradientPass, "compute", fill)
    log = tmp_path / "job.log"
    with pytest.raises(SystemExit) as end, job(SimpleNamespace(log=[str(log)])):
        make(small_disk / "out")
    assert end.value.code == 1
    assert "The disk is full" in log.read_text() and "Traceback" not in log.read_text()
    assert not list((small_disk / "out").glob("*.safetensors"))
    filler.unlink()
    with caplog.at_level(logging.INFO, logger="dmin"):
        assert make(small_disk / "out").read_bytes() == whole
    assert "resuming after 8 of 15 evaluations" in caplog.text
