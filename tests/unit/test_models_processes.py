"""A training in two processes is the training in one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from processes import PATIENCE_S
from safetensors.torch import load_file
from tiny_training import ADAPTER
from warm import warm_python

from dmin.models.training.launch import launch_training
from dmin.models.training.pace import TrainingPace
from dmin.models.training.task import Recipe, TrainingFiles, TrainingTask
from dmin.runtime.errors import UserError

pytestmark = pytest.mark.usefixtures("warm_workers")

CALL = """
import json, sys
from pathlib import Path
from dmin.runtime.errors import UserError
from dmin.models.training.launch import launch_training
from dmin.models.training.pace import TrainingPace
from dmin.models.training.task import TrainingTask
task, log = TrainingTask.from_json(json.loads(sys.argv[1])), Path(sys.argv[2])
try:
    launch_training(task, TrainingPace("cpu", 1000), 2, None, log)
except UserError as error:
    sys.exit(str(error))
"""


@pytest.fixture
def warm_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start the processes of a training on the warm interpreter."""
    monkeypatch.setattr(sys, "executable", warm_python())


PACE = TrainingPace("cpu", 2)


def task_for(base: Mapping[str, Any], samples: Path, folder: Path, **train: Any) -> TrainingTask:
    """Return what trains the tiny adapter into a folder."""
    folder.mkdir(exist_ok=True)
    names = (
        "pytorch_lora_weights.safetensors",
        "model.json",
        "training.csv",
        "checkpoints",
        "training_log.parquet",
    )
    model: Any = {**ADAPTER, "train": {**ADAPTER["train"], **train}}
    return TrainingTask(samples, Recipe(dict(base), model), TrainingFiles(*(folder / name for name in names)))


@pytest.mark.parametrize(
    ("rate", "pieces"),
    [(1e-2, 2), (1e-3, 1)],
    ids=["the same pieces of a batch", "the same settings"],
)
def test_two_processes_train_what_one_does(
    tiny_base: Mapping[str, Any], tiny_samples: Path, tmp_path: Path, rate: float, pieces: int
) -> None:
    # AdamW magnifies the rounding of small gradients in proportion to its rate: at 1e-2, one process differs from
    # itself by up to 4e-5 when the batch is summed in other pieces. So at that rate the pieces are made equal.
    found = []
    for count, accumulation in ((1, pieces), (2, 1)):
        folder = tmp_path / str(count)
        given = task_for(tiny_base, tiny_samples, folder, ema=0.5, accumulation=accumulation, learning_rate=rate)
        launch_training(given, PACE, count, None, tmp_path / f"{count}.log")
        found.append((load_file(folder / "pytorch_lora_weights.safetensors"), pd.read_csv(folder / "training.csv")))
        assert not (folder / ".resume").exists()
    (alone, curve), (shared, other) = found
    assert alone.keys() == shared.keys()
    for name, value in alone.items():
        np.testing.assert_allclose(shared[name], value, rtol=0, atol=1e-5)
    np.testing.assert_allclose(other, curve, rtol=1e-5)
    assert "step 7 of 7" in (tmp_path / "2.log").read_text()


def run_until_signal(given: TrainingTask, log: Path, line: str) -> tuple[int, str]:
    """Train in two processes, end it by SIGTERM once its log holds the line, and return its exit status and errors."""
    call = [sys.executable, "-c", CALL, json.dumps(given.to_json()), str(log)]
    job = subprocess.Popen(call, stderr=subprocess.PIPE, text=True, env=dict(os.environ))
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and line not in (log.read_text() if log.exists() else ""):
        time.sleep(0.05)
    job.send_signal(signal.SIGTERM)
    _, errors = job.communicate(timeout=PATIENCE_S)
    return job.returncode, errors


def test_two_processes_end_after_a_saved_step_and_go_on_from_it(
    tiny_base: Mapping[str, Any], tiny_samples: Path, tmp_path: Path
) -> None:
    folder, log = tmp_path / "cut", tmp_path / "cut.log"
    given = task_for(tiny_base, tiny_samples, folder, steps=60, checkpoints=[], ema=0.5)
    status, errors = run_until_signal(given, log, "step 50 of")
    assert status == 1 and "saved, because SIGTERM came; run again to go on." in errors, errors
    assert list((folder / ".resume").glob("*/state.safetensors"))
    launch_training(given, PACE, 2, None, log)
    assert "resuming at step" in log.read_text()
    whole = task_for(tiny_base, tiny_samples, tmp_path / "whole", steps=60, checkpoints=[], ema=0.5)
    launch_training(whole, PACE, 2, None, tmp_path / "whole.log")
    found, expected = (load_file(path / "pytorch_lora_weights.safetensors") for path in (folder, tmp_path / "whole"))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)


def test_mistake_is_told_once(tiny_base: Mapping[str, Any], tiny_samples: Path, tmp_path: Path) -> None:
    given = task_for(tiny_base, tiny_samples, tmp_path / "out")
    model: Any = {**given.recipe.model, "lora": {**given.recipe.model["lora"], "targets": ["to_x"]}}
    given = replace(given, recipe=replace(given.recipe, model=model))
    with pytest.raises(UserError, match="names 'to_x', which the denoiser does not have"):
        launch_training(given, PACE, 2, None, tmp_path / "training.log")
