"""Models trained again on parts of their training set, and the losses of queries under them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from tiny_training import BANK, FULL, retrained, retraining_job

import dmin.retraining.retrain as module
from dmin.models.encoded import EncodedSamples
from dmin.models.load import load_trained
from dmin.models.training.pace import TrainingPace
from dmin.models.training.task import Recipe
from dmin.retraining.losses import measure_losses, query_losses, timestep_parts
from dmin.retraining.members import Member, Retrainings
from dmin.retraining.retrain import member_recipe, retrain_subsets
from dmin.retraining.sets import read_sets, write_sets
from dmin.runtime.deadline import StopRequest
from dmin.runtime.digests import weights_digest
from dmin.runtime.errors import UserError
from dmin.runtime.pace import Pace


@pytest.fixture
def job(tmp_path: Path) -> dict[str, Any]:
    """Return the arguments of a job that trains both sets twice."""
    return retraining_job(tmp_path)


def weights(out: Path) -> dict[str, str]:
    return {folder.name: weights_digest(folder / "pipeline") for folder in sorted(out.glob("set*"))}


def test_sets_are_trained_as_many_times_as_there_are_seeds(job: dict[str, Any]) -> None:
    retrain_subsets(**job)
    found = weights(job["out"])
    assert list(found) == ["set0000-0", "set0000-1", "set0001-0", "set0001-1"]
    assert len(set(found.values())) == 4
    facts = json.loads((job["out"] / "set0000-0" / "model.json").read_text())
    # Half of the samples for as many epochs are half of the steps.
    assert facts["train"]["steps"] == 4 and facts["train"]["checkpoints"] == []
    assert not (job["out"].parent / ".resume").exists()
    assert {path.name for path in (job["out"] / "set0000-0").iterdir()} == {"pipeline", "model.json"}


def test_one_job_or_several_train_the_same(job: dict[str, Any]) -> None:
    retrain_subsets(**job)
    parts = {}
    for span in ((0, 3), (3, 4)):
        out = job["out"].with_name(f"part{span[0]}")
        retrain_subsets(**{**job, "retrainings": Retrainings(BANK, *span), "out": out})
        parts |= weights(out)
    assert parts == weights(job["out"])


def test_ended_job_goes_on_to_the_same_weights(job: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    retrain_subsets(**{**job, "out": job["out"].with_name("whole")})

    class Soon(StopRequest):
        asked = 0

        def due(self) -> str | None:
            self.asked += 1
            return "it is late" if self.asked > 7 else None

    with pytest.raises(UserError, match=r"^Training the model ends after step 3 of 4, saved, because it is late"):
        retrain_subsets(**{**job, "pace": TrainingPace("cpu", 2, Soon())})
    assert not job["out"].exists()
    trained = []
    train_model = module.train_model
    monkeypatch.setattr(module, "train_model", lambda *given: trained.append(given[0]) or train_model(*given))
    retrain_subsets(**job)
    assert [task.samples.parent.name for task in trained] == ["set0000-1", "set0001-0", "set0001-1"]
    assert weights(job["out"]) == weights(job["out"].with_name("whole"))


def test_diverged_retraining_is_named_and_left_out_on_demand_only(job: dict[str, Any]) -> None:
    encoded = EncodedSamples.load(job["samples"])
    encoded.latents[5] = torch.nan
    encoded.save(job["samples"])
    with pytest.raises(UserError, match=r"^Retraining set0001-0 failed: .* add 1 to the bank's exclude"):
        retrain_subsets(**job)
    retrain_subsets(**{**job, "retrainings": Retrainings({**BANK, "exclude": [1]}, 0, 4)})
    assert list(weights(job["out"])) == ["set0000-0", "set0000-1"]


def test_members_of_a_range() -> None:
    assert list(Retrainings({**BANK, "exclude": [1]}, 1, 6)) == [Member(0, 1), Member(2, 0), Member(2, 1)]


def test_sets_of_a_range_are_those_of_the_whole_bank(tmp_path: Path) -> None:
    ids = [f"{name}/{row}" for name in "ab" for row in range(10)]
    pd.DataFrame({"id": ids, "subset": [name[0] for name in ids]}).to_parquet(tmp_path / "train.parquet")
    settings, spans = {"fraction": 0.5, "seed": 3, "seeds": 2}, [(0, 12), (0, 5), (5, 12)]
    for start, stop in spans:
        write_sets(tmp_path / "train.parquet", settings, (start, stop), tmp_path / f"{start}-{stop}.parquet")
    whole, *parts = ([tmp_path / f"{start}-{stop}.parquet"] for start, stop in spans)
    assert (read_sets([file for part in parts for file in part], ids) == read_sets(whole, ids)).all()
    assert read_sets(whole, ids).shape == (6, 20)
    # Set 2 has its first training in one range and its second in the other.
    assert [sorted(set(pd.read_parquet(part[0])["set"])) for part in parts] == [[0, 1, 2], [2, 3, 4, 5]]


def test_sets_share_their_start_and_repeats_do_not() -> None:
    first, again, other = (
        member_recipe(Recipe({}, FULL), share, 5, repeat).model["train"]
        for share, repeat in ((0.5, 0), (0.25, 0), (0.5, 1))
    )
    assert first["seed"] == again["seed"] != other["seed"]
    assert [settings["steps"] for settings in (first, again, other)] == [4, 2, 4]


def test_losses_do_not_depend_on_the_batch_and_differ_between_models(job: dict[str, Any], tmp_path: Path) -> None:
    retrain_subsets(**job)
    tables = []
    for batch in (3, 100):
        out = tmp_path / f"{batch}.parquet"
        settings = {"timesteps": 4, "seed": 9}
        measure_losses(retrained(job), job["samples"], settings, out, Pace("cpu", batch))
        tables.append(pd.read_parquet(out))
    assert len(tables[0]) == 4 * 8 * 4
    bands = ["low_timestep", "high_timestep"]
    assert list(tables[0]) == ["set", "repeat", "query_id", *bands, "timesteps", "loss"]
    assert tables[0]["low_timestep"].tolist()[:4] == tables[0]["high_timestep"].tolist()[:4] == [750, 500, 250, 0]
    pd.testing.assert_frame_equal(*tables, rtol=1e-5)
    assert tables[0].groupby(["query_id", "low_timestep"])["loss"].nunique().eq(4).all()


def test_losses_are_kept_for_parts_of_many_timesteps(job: dict[str, Any], tmp_path: Path) -> None:
    job["retrainings"] = Retrainings(BANK, 0, 1)
    retrain_subsets(**job)
    measure_losses(retrained(job), job["samples"], {"timesteps": 50, "seed": 9}, tmp_path / "out", Pace("cpu", 100))
    table = pd.read_parquet(tmp_path / "out")
    assert len(table) == 8 * 20 and sorted(set(table["timesteps"])) == [2, 3]
    family = load_trained(retrained(job).of(Member(0, 0)), torch.device("cpu"), ["denoiser"])
    each = query_losses(family, EncodedSamples.load(job["samples"]), list(range(980, -1, -20)), 9, 100)
    whole = (table["loss"] * table["timesteps"]).groupby(table["query_id"], sort=False).sum() / 50
    assert whole.tolist() == pytest.approx(each.mean(1).tolist())
    first = table.iloc[0]
    assert first[["low_timestep", "high_timestep", "timesteps"]].tolist() == [940, 980, 3]
    assert first["loss"] == pytest.approx(each[0, :3].mean().item())


def test_parts_hold_every_timestep_once() -> None:
    for count in (1, 7, 20, 33, 1000):
        steps = list(range(count))[::-1]
        parts = timestep_parts(steps)
        assert [step for part in parts for step in part] == steps and len(parts) == min(count, 20)


def test_model_that_gives_no_loss_is_named(job: dict[str, Any], tmp_path: Path) -> None:
    job["retrainings"] = Retrainings(BANK, 0, 1)
    retrain_subsets(**job)
    encoded = EncodedSamples.load(job["samples"])
    encoded.latents[2] = torch.inf
    encoded.save(tmp_path / "queries.safetensors")
    arguments = (retrained(job), tmp_path / "queries.safetensors", {"timesteps": 2, "seed": 0})
    with pytest.raises(UserError, match=r"^Retraining set0000-0 has a loss that is not finite"):
        measure_losses(*arguments, tmp_path / "losses.parquet", Pace("cpu", 8))
