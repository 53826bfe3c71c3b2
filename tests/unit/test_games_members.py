"""Members: players, the samples of coalitions, and what goes on from a whole or a pruned model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_pipeline import LATENT, LORA, PROMPT_LENGTH, TEXT_WIDTH, build_base
from tiny_training import ADAPTER, FULL, TRAIN, Late, retrained, retraining_job, train_adapter

from dmin.data.samples import write_samples
from dmin.games.feature_files import write_features
from dmin.games.models import compare_models
from dmin.games.players import Players, keep_samples, read_players, require_same, take_players
from dmin.games.prune_model import PrunedFiles, prune_model
from dmin.games.tables import PruningCost, measure_cost, measure_noise
from dmin.models.encoded import EncodedSamples
from dmin.models.load import TrainedModel, load_trained
from dmin.models.training.pace import TrainingPace
from dmin.models.training.task import Recipe
from dmin.retraining.members import Retrainings
from dmin.retraining.retrain import retrain_subsets
from dmin.runtime.errors import UserError

CPU = torch.device("cpu")
STEPS = {"seeds": 1, "seed": 5, "exclude": [], "budget": "steps"}


def pruned_files(folder: Path, weights: str) -> PrunedFiles:
    return PrunedFiles(
        folder / weights, folder / "model.json", folder / "training.csv", folder / "pruning.json", folder / "cost.json"
    )


def write_train(path: Path, **columns: list[str | None]) -> None:
    image = {"bytes": b"", "path": None}
    table = {"id": [f"s/{row}" for row in range(4)], "subset": ["a", "a", "b", "b"], **columns}
    write_samples(pd.DataFrame({**table, "image": pd.Series([image] * 4)}), path)


def test_players_are_single_samples_or_the_values_of_a_column(tmp_path: Path) -> None:
    write_train(tmp_path / "train.parquet", origin=["you", "me", "me", "me"])
    take_players(tmp_path / "train.parquet", {"by": "origin", "count": 2}, tmp_path / "players.json")
    found = read_players(tmp_path / "players.json")
    assert found == Players(["me", "you"], [["s/1", "s/2", "s/3"], ["s/0"]], [])
    assert found.kept([False, True]) == ["s/0"]
    take_players(tmp_path / "train.parquet", {"by": "sample", "count": 4}, tmp_path / "players.json")
    single = read_players(tmp_path / "players.json")
    assert single.names == ["s/0", "s/1", "s/2", "s/3"] and single.subsets == ["a", "a", "b", "b"]


@pytest.mark.fault("A training sample belongs to no player, or there are more players than the config says", "refused")
def test_wrong_players_are_refused(tmp_path: Path) -> None:
    write_train(tmp_path / "train.parquet", label=["x", None, "y", "y"])
    with pytest.raises(UserError, match=r"'s/1' has no label, so it belongs to no player; give it one"):
        take_players(tmp_path / "train.parquet", {"by": "label", "count": 2}, tmp_path / "players.json")
    with pytest.raises(UserError, match=r"have 2 players by subset, where the config expects 3; set players\.count"):
        take_players(tmp_path / "train.parquet", {"by": "subset", "count": 3}, tmp_path / "players.json")


def test_coalitions_keep_the_samples_of_their_players(tmp_path: Path) -> None:
    write_train(tmp_path / "train.parquet")
    take_players(tmp_path / "train.parquet", {"by": "subset", "count": 2}, tmp_path / "players.json")
    table = {"coalition": [0, 1, 7], "p0": [False, True, False], "p1": [False, True, True]}
    pd.DataFrame(table).to_parquet(tmp_path / "coalitions.parquet")
    files = tmp_path / "coalitions.parquet", tmp_path / "players.json"
    written = tmp_path / "sets.parquet", tmp_path / "sets.json"
    for span, expected in (((0, 1), {(1, f"s/{row}") for row in range(4)}), ((7, 7), {(7, "s/2"), (7, "s/3")})):
        keep_samples(*files, span, *written)
        kept = pd.read_parquet(tmp_path / "sets.parquet")
        assert set(zip(kept["set"], kept["id"], strict=True)) == expected
    with pytest.raises(UserError, match="lacks coalition 8"):
        keep_samples(*files, (7, 8), *written)


@pytest.mark.fault("Coalitions were drawn anew after their members were trained", "refused; the record is named")
def test_members_of_other_coalitions_are_refused(tmp_path: Path) -> None:
    write_train(tmp_path / "train.parquet")
    take_players(tmp_path / "train.parquet", {"by": "subset", "count": 2}, tmp_path / "players.json")
    table = pd.DataFrame({"coalition": [2, 3], "p0": [True, False], "p1": [False, True]})
    coalitions, record = tmp_path / "coalitions.parquet", tmp_path / "sets.json"
    table.to_parquet(coalitions)
    keep_samples(coalitions, tmp_path / "players.json", (2, 3), tmp_path / "sets.parquet", record)
    require_same(coalitions, [record])
    table.assign(p0=[False, True]).to_parquet(coalitions)
    with pytest.raises(
        UserError, match=r"coalition 2 were trained on other players than .* lists; delete '.*sets.json'"
    ):
        require_same(coalitions, [record])


def test_nobody_trains_nothing_and_a_start_is_gone_on_with(tmp_path: Path) -> None:
    job = retraining_job(tmp_path)
    sets = pd.read_parquet(job["sets"])
    sets[sets["set"] == 1].to_parquet(job["sets"])
    job["retrainings"] = Retrainings(STEPS, 0, 2)
    assert len(retrain_subsets(**job)) == 2, "seconds of each"
    whole = retrained(job)
    nobody, half = (load_trained(whole.of(member), CPU, ["denoiser"]).denoiser for member in whole.retrainings)
    base = load_trained(TrainedModel(job["recipe"].base, Path(job["recipe"].base["path"])), CPU, ["denoiser"]).denoiser
    for value, expected in zip(nobody.parameters(), base.parameters(), strict=True):
        assert torch.equal(value, expected), "a base with weights is what nobody's data has touched"
    start = whole.of(next(reversed(list(whole.retrainings)))).weights
    slow: dict[str, Any] = {**FULL, "train": {**TRAIN, "steps": 1, "learning_rate": 1e-9}}
    out = tmp_path / "unlearnt" / "models"
    retrain_subsets(**{**job, "recipe": Recipe(job["recipe"].base, slow, start), "out": out})
    gone_on = load_trained(replace(whole, folder=out).of(list(whole.retrainings)[1]), CPU, ["denoiser"]).denoiser
    for value, expected in zip(gone_on.parameters(), half.parameters(), strict=True):
        assert torch.allclose(value, expected, atol=1e-6)
    facts = json.loads((out / "set0001-0" / "model.json").read_text())
    assert facts["start"] and facts["train"]["steps"] == 1
    assert "start" not in json.loads((job["out"] / "set0001-0" / "model.json").read_text())


@pytest.mark.fault("An adapter of the hub that a game goes on with changes text encoders too", "refused; it is named")
def test_adapter_with_a_part_in_text_encoders_is_not_gone_on_with(tmp_path: Path) -> None:
    job, start = retraining_job(tmp_path), tmp_path / "pytorch_lora_weights.safetensors"
    names = [f"{part}.q.lora_{side}.weight" for part in ("unet", "text_encoder") for side in "AB"]
    save_file({name: torch.ones(2, 2) for name in names}, start)
    with pytest.raises(UserError, match=r"lora_weights.safetensors' changes text encoders too, and what these learned"):
        retrain_subsets(**{**job, "recipe": Recipe(job["recipe"].base, ADAPTER, start)})
    assert not job["out"].exists()


def test_pruned_model_is_trained_again_and_resumes(tmp_path: Path) -> None:
    job = retraining_job(tmp_path)
    base = Path(job["recipe"].base["path"])
    given: dict[str, Any] = {**FULL, "train": {**TRAIN, "steps": 4, "checkpoints": []}}
    arguments = (job["samples"], base, Recipe(job["recipe"].base, given), 0.4)
    prune_model(*arguments, pruned_files(tmp_path / "once", "pipeline"), TrainingPace("cpu", 1))
    files = pruned_files(tmp_path / "twice", "pipeline")
    with pytest.raises(UserError, match="it is late"):
        prune_model(*arguments, files, TrainingPace("cpu", 1, Late(2)))
    prune_model(*arguments, files, TrainingPace("cpu", 1))
    unet = "pipeline/unet/diffusion_pytorch_model.safetensors"
    assert (tmp_path / "once" / unet).read_bytes() == (tmp_path / "twice" / unet).read_bytes()
    assert not (tmp_path / "twice" / ".resume").exists()
    record = json.loads(files.record.read_text())
    assert record["ratio"] == 0.4 and record["pruned"] == "channels"
    for count in (record["parameters"], record["macs"]):
        assert 0 < count["after"] < count["before"]
    assert json.loads(files.description.read_text())["parameters"] == record["parameters"]["after"]


def test_adapter_loses_ranks_and_members_go_on_with_it(tmp_path: Path) -> None:
    base = build_base(tmp_path / "base")
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn((4, *LATENT), generator=generator)
    prompts = torch.randn((5, PROMPT_LENGTH, TEXT_WIDTH), generator=generator)
    samples = tmp_path / "train.safetensors"
    EncodedSamples(
        [f"s{row}" for row in range(4)], latents, {"prompt_embeds": prompts[:4]}, {"prompt_embeds": prompts[4:]}
    ).save(samples)
    (tmp_path / "model").mkdir()
    train_adapter(base, samples, tmp_path / "model")
    tuning: Any = {**ADAPTER, "lora": {**LORA, "rank": 3}, "train": {**ADAPTER["train"], "checkpoints": []}}
    files = pruned_files(tmp_path / "pruned", "pytorch_lora_weights.safetensors")
    whole = tmp_path / "model" / "pytorch_lora_weights.safetensors"
    prune_model(samples, whole, Recipe(base, tuning), 0.25, files, TrainingPace("cpu", 9))
    record = json.loads(files.record.read_text())
    assert record["parameters"]["after"] * 4 == record["parameters"]["before"] * 3 and record["pruned"] == "ranks"
    assert {min(value.shape) for value in load_file(files.weights).values()} == {3}
    pd.DataFrame([(1, "s0"), (1, "s2")], columns=["set", "id"]).to_parquet(tmp_path / "sets.parquet")
    out, spread = tmp_path / "members" / "models", Retrainings(STEPS, 0, 2)
    recipe = Recipe(base, tuning, files.weights)
    retrain_subsets(samples, tmp_path / "sets.parquet", recipe, spread, out, TrainingPace("cpu", 9))
    first, second = (load_file(out / f"set000{number}-0" / whole.name) for number in (0, 1))
    assert all((value == 0).all() for name, value in first.items() if "lora_B" in name), "nobody changes nothing"
    pruned = load_file(files.weights)
    assert any(not torch.equal(value, pruned[name]) for name, value in second.items()) and set(second) == set(pruned)


def test_cost_is_in_units_of_one_retraining(tmp_path: Path) -> None:
    for name, seconds in (("retrain", [30.0, 50.0]), ("sparsified", [4.0]), ("none", [])):
        (tmp_path / f"{name}.json").write_text(json.dumps({"trained_seconds": seconds}))
    (tmp_path / "pruning.json").write_text(json.dumps({"seconds": 60.0, "steps": 600}))
    (tmp_path / "record.json").write_text(json.dumps({"macs": {"before": 10, "after": 4}}))
    rows: list[Any] = [
        {
            "trainer": "retrain",
            "steps": 400,
            "samples": 6400,
            "metrics": [str(tmp_path / "retrain.json"), str(tmp_path / "none.json")],
        },
        {"trainer": "unlearn", "steps": 80, "samples": 1280, "metrics": [str(tmp_path / "none.json")]},
        {"trainer": "sparsified", "steps": 80, "samples": 1280, "metrics": [str(tmp_path / "sparsified.json")]},
    ]
    pruning = PruningCost(tmp_path / "pruning.json", tmp_path / "record.json", 9600)
    measure_cost(rows, pruning, 6400, tmp_path / "cost.csv")
    table = pd.read_csv(tmp_path / "cost.csv").set_index("trainer")
    # A fifth of the samples, and of each multiplication two fifths.
    assert table["compute"].to_dict() == pytest.approx(
        {"retrain": 1, "unlearn": 0.2, "sparsified": 0.08, "pruning": 0.6}
    )
    assert table["seconds"][["retrain", "sparsified", "pruning"]].tolist() == [40, 4, 60]
    assert table["members"].to_dict() == {"retrain": 2, "unlearn": 0, "sparsified": 1, "pruning": 1}


def test_noise_is_set_beside_what_members_differ_by(tmp_path: Path) -> None:
    for number, value in enumerate((1.0, 3.0)):
        frame = pd.DataFrame({"set": ["repeat"], "repeat": [0], "behaviour": ["entropy"], "value": [value]})
        frame.to_csv(tmp_path / f"{number}.csv", index=False)
    members = pd.DataFrame({"behaviour": ["entropy"] * 3, "value": [0.0, 4.0, 8.0]})
    members.to_csv(tmp_path / "members.csv", index=False)
    measure_noise([tmp_path / "0.csv", tmp_path / "1.csv"], tmp_path / "members.csv", tmp_path / "noise.csv")
    (row,) = pd.read_csv(tmp_path / "noise.csv").to_dict("records")
    assert row["mean"] == 2 and row["noise_sd"] == pytest.approx(2**0.5)
    assert row["members_sd"] == 4 and row["repeats"] == 2


def test_models_are_compared_with_data_whole_model_and_retrained_members(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    given = {
        "train": {"train": rows},
        "full": {"full/0": rows + 1},
        "retrain": {"2/0": rows + 2, "3/0": rows + 4},
        "sparsified": {"2/0": rows + 2, "3/0": rows + 5},
    }
    for name, features in given.items():
        write_features(features, tmp_path / f"{name}.safetensors")
    table: list[Any] = [
        {"model": name, "steps": 9, "features": [str(tmp_path / f"{name}.safetensors")]}
        for name in ("full", "retrain", "sparsified")
    ]
    (tmp_path / "pruning.json").write_text(
        json.dumps({"parameters": {"before": 9, "after": 4}, "macs": {"before": 8, "after": 3}})
    )
    files = [tmp_path / "retrain.safetensors"], tmp_path / "train.safetensors", tmp_path / "pruning.json"
    compare_models(table, *files, "frechet_classifier", tmp_path / "models.csv")
    found = pd.read_csv(tmp_path / "models.csv").set_index("model")
    # A shift by d in six features is a distance of 6 d^2.
    assert found["to_data"].to_dict() == pytest.approx({"full": 6, "retrain": 60, "sparsified": 87}, rel=1e-4)
    assert set(found["distance"]) == {"frechet_classifier"}
    assert found["to_whole"]["retrain"] == pytest.approx(30, rel=1e-4)
    assert found["to_retrained"]["sparsified"] == pytest.approx(3, rel=1e-4)
    assert found["parameters"].to_dict() == {"full": 9, "retrain": 9, "sparsified": 4}
