"""Unfinished work is gone on with by the code and the versions that began it, and by nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tiny_base import base_config
from tiny_pipeline import SIZE, gradient_config
from tiny_training import ADAPTER, FULL, Late, retraining_job

from dmin.data.samples import write_samples
from dmin.games.prune_model import PrunedFiles, prune_model
from dmin.gradients.cache import cache_gradients
from dmin.gradients.cache_kind import CacheKind
from dmin.gradients.make_shard import ShardTask
from dmin.models.base.pipeline import train_base
from dmin.models.load import TrainedModel
from dmin.models.queries.generate import generate_queries
from dmin.models.queries.record_trajectory import record_trajectory
from dmin.models.training.pace import TrainingPace
from dmin.models.training.task import Recipe, TrainingFiles, TrainingTask
from dmin.models.training.train_model import train_model
from dmin.retraining.retrain import retrain_subsets
from dmin.runtime import provenance
from dmin.runtime.deadline import StopRequest
from dmin.runtime.errors import UserError
from dmin.runtime.pace import Pace

SCRIPTS = sorted((Path(__file__).parents[2] / "scripts").glob("*.py"))
# Runs a job in a folder as code of a name, until its end is asked for.
Job = Callable[[Path, str, StopRequest | None], None]
JOBS = ("train_model", "retrain_subsets", "prune_model", "cache_gradients", "record_trajectory", "train_base")


@pytest.fixture
def jobs(
    tiny_base: Mapping[str, Any], tiny_adapter: Path, tiny_samples: Path, tmp_path: Path
) -> Mapping[str, Callable[[], Job]]:
    """Return, by rule, what makes ready and returns the job."""
    model = TrainedModel(tiny_base, tiny_adapter)  # type: ignore[arg-type]

    def trained(folder: Path, code: str, request: StopRequest | None) -> None:
        names = ("pytorch_lora_weights.safetensors", "model.json", "training.csv", "checkpoints", "log.parquet")
        files = TrainingFiles(*(folder / name for name in names))
        recipe = Recipe(tiny_base, ADAPTER)  # type: ignore[arg-type]
        train_model(TrainingTask(tiny_samples, recipe, files), TrainingPace("cpu", 2, request, code=code))

    def bank() -> Job:
        given = retraining_job(tmp_path)
        pace = {"device": "cpu", "save_every": 2}
        return lambda folder, code, request: (
            retrain_subsets(
                **{**given, "out": folder / "models", "pace": TrainingPace(**pace, request=request, code=code)}
            )
            and None
        )

    def pruned() -> Job:
        given = retraining_job(tmp_path)
        base = given["recipe"].base
        recipe = Recipe(base, {**FULL, "train": {**FULL["train"], "checkpoints": []}})

        def run(folder: Path, code: str, request: StopRequest | None) -> None:
            names = ("pipeline", "model.json", "training.csv", "record.json", "metrics.json")
            files = PrunedFiles(*(folder / name for name in names))
            pace = TrainingPace("cpu", 2, request, code=code)
            prune_model(given["samples"], Path(base["path"]), recipe, 0.4, files, pace)

        return run

    def cached(folder: Path, code: str, request: StopRequest | None) -> None:
        task = ShardTask(tiny_samples, 0, 5, folder / "0-5.safetensors", folder / "0-5.metrics.json")
        kind = CacheKind("loss", {"quantity": "loss", "draws": 1})
        cache_gradients(task, model, gradient_config(), kind, Pace("cpu", 4, request, code))  # type: ignore[arg-type]

    def trajectory() -> Job:
        rows = {"id": ["flags/1", "flags/2"], "subset": ["flags"] * 2, "prompt": ["a flag", "a brick"]}
        write_samples(pd.DataFrame({**rows, "label": [None] * 2}), tmp_path / "test.parquet")
        sampling: Any = {"per_subset": 3, "seed": 1, "steps": 2, "guidance": 3.0, "size": SIZE}
        queries = tmp_path / "queries.parquet"
        generate_queries(tmp_path / "test.parquet", model, sampling, ["flags"], queries, Pace("cpu", 2))
        return lambda folder, code, request: record_trajectory(
            queries, model, sampling, folder / "t.safetensors", Pace("cpu", 1, request, code)
        )

    def whole_base() -> Job:
        config: Any = base_config(tmp_path)
        return lambda folder, code, request: train_base(
            config, folder / "base", folder / ".resume", TrainingPace("cpu", 1, request, code=code)
        )

    ready = {"train_model": trained, "cache_gradients": cached}
    return {
        **{name: lambda job=job: job for name, job in ready.items()},
        "retrain_subsets": bank,
        "prune_model": pruned,
        "record_trajectory": trajectory,
        "train_base": whole_base,
    }


def left_by(job: Job, folder: Path, code: str) -> set[str]:
    """Return what a job leaves unfinished in a fresh folder."""
    with pytest.raises(UserError, match="it is late"):
        job(folder, code, Late(1))
    return {path.name for path in (folder / ".resume").iterdir()}


@pytest.mark.fault(
    "a training, bank, cache or trajectory is cut short, and its code or torch changes before it goes on",
    "begun afresh, so that no result is made by halves",
)
@pytest.mark.parametrize("rule", JOBS)
def test_unfinished_work_has_a_name_by_its_code_and_versions(
    jobs: Mapping[str, Callable[[], Job]], rule: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = jobs[rule]()
    one, same, other = (left_by(job, tmp_path / name, code) for name, code in (("1", "a"), ("2", "a"), ("3", "b")))
    assert one and one == same and not one & other
    monkeypatch.setattr(provenance, "versions", lambda: {"torch": "0"})
    assert not one & left_by(job, tmp_path / "4", "a")


@pytest.mark.fault(
    "a training, bank, cache or trajectory finishes beside what one under earlier settings left",
    "what was left is removed, and what others left is not",
)
@pytest.mark.parametrize("rule", [rule for rule in JOBS if rule != "train_base"])
def test_nothing_is_left_of_earlier_settings(jobs: Mapping[str, Callable[[], Job]], rule: str, tmp_path: Path) -> None:
    job, folder = jobs[rule](), tmp_path / "job"
    left_by(job, folder, "a")
    (folder / ".resume" / "others-0123456789abcdef").mkdir()
    job(folder, "b", None)
    assert [path.name for path in (folder / ".resume").iterdir()] == ["others-0123456789abcdef"]


def test_every_script_that_goes_on_names_its_code() -> None:
    long = [text for script in SCRIPTS if "StopRequest" in (text := script.read_text()) or "launch_training" in text]
    assert len(long) == 8 and all("snakemake.params.code" in text for text in long)
