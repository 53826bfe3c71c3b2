"""Training samples removed: which ones, what is trained without them, and what is generated then."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from tiny_families import SIZE, build_ddpm

from dmin.data.images import encode_png
from dmin.data.samples import read_samples, sample_pixels, write_samples
from dmin.evaluation.removal import RemovalFiles, evaluate_removal, pixel_distance, reference_rows
from dmin.evaluation.studied_removals import StudiedRemovals
from dmin.figures.image_strips import plot_image_strips
from dmin.figures.removal import plot_removal
from dmin.models.encoded import EncodedSamples
from dmin.models.load import TrainedModel
from dmin.models.queries.generate import generate_images
from dmin.models.training.pace import TrainingPace
from dmin.models.training.task import Recipe
from dmin.retraining.members import RetrainedModels, Retrainings
from dmin.retraining.regenerate import regenerate
from dmin.retraining.regenerated import group_parts
from dmin.retraining.removals import Chooser, choose_in_turn, choose_removals
from dmin.retraining.retrain import retrain_subsets, trained_rows
from dmin.runtime.errors import UserError
from dmin.runtime.pace import Pace

TRAIN = {
    "steps": 4, "batch_size": 4, "learning_rate": 1e-2, "weight_decay": 0.0, "warmup_steps": 0, "prompt_dropout": 0.0,
    "accumulation": 1, "checkpointing": False, "precision": "float32", "ema": None, "seed": 1, "checkpoints": [],
}  # fmt: skip
MODEL: dict[str, Any] = {"finetune": "full", "train": TRAIN}
CONFIG = {"queries": 3, "k": [3], "draws": 2, "seed": 5}
BANK = {"seeds": 2, "seed": 5, "exclude": [], "removes": True, "budget": "epochs"}


def picture(value: int) -> dict[str, Any]:
    pixels = np.full((SIZE, SIZE, 3), value, dtype=np.uint8)
    pixels[4:12, 6:10] = 255 - value
    return {"bytes": encode_png(Image.fromarray(pixels)), "path": None}


def write_tables(folder: Path) -> dict[str, Path]:
    """Write twelve samples of two classes, four queries, and scores whose top of query q starts at sample q."""
    ids = [f"s{row}" for row in range(12)]
    subsets = ["a"] * 6 + ["b"] * 6
    train = pd.DataFrame({"id": ids, "subset": subsets, "image": [picture(10 * row) for row in range(12)]})
    write_samples(train, folder / "train.parquet")
    names = ["query/a/0000", "query/a/0001", "query/b/0000", "query/b/0001"]
    queries = pd.DataFrame(
        {"id": names, "subset": list("aabb"), "prompt": "", "seed": range(4), "image": [picture(9)] * 4}
    )
    write_samples(queries, folder / "queries.parquet")
    scores = np.stack([-np.abs(np.arange(12) - query) for query in (0, 1, 6, 7)]).astype(np.float32)
    np.save(folder / "scores.npy", scores)
    (folder / "scores.json").write_text(json.dumps({"queries": names, "train": ids}))
    return {name: folder / f"{name}.parquet" for name in ("train", "queries")} | {"scores": folder / "scores.npy"}


@pytest.fixture
def tables(tmp_path: Path) -> dict[str, Path]:
    """Return the tables in a folder of the test's own."""
    return write_tables(tmp_path)


def removed(tables: dict[str, Path], removal: str, scores: bool = False, **changes: Any) -> pd.DataFrame:
    out = tables["train"].with_name(f"{removal}.parquet")
    asked = read_samples(tables["queries"], ["id", "subset"])
    chooser = Chooser(removal, tables["scores"] if scores else None)
    choose_removals(chooser, tables["train"], asked, CONFIG | changes, out)
    return pd.read_parquet(out)


def test_queries_are_taken_from_the_subsets_in_turn() -> None:
    assert choose_in_turn(list("aabbc"), 4) == [0, 2, 4, 1]
    assert choose_in_turn(list("bab"), 3) == [0, 1, 2]
    # More queries keep the first ones.
    assert choose_in_turn(list("aabbc"), 2) == choose_in_turn(list("aabbc"), 5)[:2]


def test_method_removes_what_it_ranks_first_for_each_query(tables: dict[str, Path]) -> None:
    table = removed(tables, "dmin", scores=True)
    by_query = table.groupby("query_id", sort=False)["id"].agg(list).to_dict()
    # Ties go to the earlier sample.
    assert by_query == {
        "query/a/0000": ["s0", "s1", "s2"],
        "query/b/0000": ["s6", "s5", "s7"],
        "query/a/0001": ["s1", "s0", "s2"],
    }
    assert table.groupby("query_id")["set"].nunique().eq(1).all()


def test_random_removals_are_for_all_queries_and_more_keep_the_first(tables: dict[str, Path]) -> None:
    few, many = removed(tables, "random"), removed(tables, "random", draws=4)
    assert few["set"].value_counts().to_dict() == {0: 3, 1: 3} and set(few["query_id"]) == {""}
    assert many[many["set"] < 2].reset_index(drop=True).equals(few)
    assert removed(tables, "none").empty


def test_removal_of_a_whole_class_is_refused(tables: dict[str, Path]) -> None:
    with pytest.raises(UserError, match=r"^Removal dmin/0 for query 'query/a/0000' takes all 6 .* 'a'; lower"):
        removed(tables, "dmin", scores=True, k=[6])
    with pytest.raises(UserError, match=r"^Removal random/0 takes all"):
        removed(tables, "random", k=[12])


def test_removing_some_is_training_on_the_rest() -> None:
    assert trained_rows(["a", "b", "c"], ["b"], removes=True) == trained_rows(
        ["a", "b", "c"], ["a", "c"], removes=False
    )
    assert trained_rows(["a", "b"], [], removes=True) == [0, 1]
    with pytest.raises(UserError, match=r"lists the sample 'z', which is not in the training set"):
        trained_rows(["a"], ["z"], removes=True)


def test_diverged_retraining_is_named_and_left_out_on_demand_only(tables: dict[str, Path], tmp_path: Path) -> None:
    base = build_ddpm(tmp_path / "base", channels=1)
    latents = torch.zeros((12, 1, SIZE, SIZE))
    latents[0] = torch.nan
    EncodedSamples([f"s{row}" for row in range(12)], latents, {}, {}).save(tmp_path / "train.safetensors")
    removed(tables, "dmin", scores=True)
    bank = BANK | {"seeds": 1, "advice": "add dmin/{set} to runs.r.removal.exclude"}
    job = [tmp_path / "train.safetensors", tmp_path / "dmin.parquet", Recipe(base, MODEL)]
    # The first query's set removes the broken sample, the second one's does not.
    with pytest.raises(
        UserError, match=r"^Retraining set0001-0 failed: .*, add dmin/1 to runs\.r\.removal\.exclude\.$"
    ):
        retrain_subsets(*job, Retrainings(bank, 0, 3), tmp_path / "out", TrainingPace("cpu", 10))
    retrainings = Retrainings(bank | {"exclude": [1]}, 0, 3)
    retrain_subsets(*job, retrainings, tmp_path / "out", TrainingPace("cpu", 10))
    assert [path.name for path in sorted((tmp_path / "out").glob("set*"))] == ["set0000-0", "set0002-0"]


@pytest.fixture(scope="module")
def retrained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Retrainings of nothing removed, two random removals and those of a method, and what they generate."""
    folder = tmp_path_factory.mktemp("retrained")
    tables = write_tables(folder)
    base = build_ddpm(folder / "base", channels=1)
    latents = torch.randn((12, 1, SIZE, SIZE), generator=torch.Generator().manual_seed(0))
    EncodedSamples([f"s{row}" for row in range(12)], latents, {}, {}).save(folder / "train.safetensors")
    files = {}
    for removal, sets in (("none", 1), ("random", 2), ("dmin", 3)):
        removed(tables, removal, scores=removal == "dmin")
        models, lists = folder / "bank" / removal, folder / f"{removal}.parquet"
        retrainings = Retrainings(BANK, 0, 2 * sets)
        train = folder / "train.safetensors"
        retrain_subsets(train, lists, Recipe(base, MODEL), retrainings, models, TrainingPace("cpu", 10))
        files[removal] = folder / f"{removal}-images.parquet"
        sampling = {"steps": 2, "guidance": 1.0, "queries": 3, "size": SIZE}
        images = tables["queries"]
        trained = RetrainedModels(models, base, "full", retrainings)
        regenerate(trained, lists, images, sampling, files[removal], Pace("cpu", 8))
    return {"base": base, "files": files, "models": folder / "bank", "folder": folder, "queries": images}


def test_each_model_generates_the_query_that_it_was_retrained_for(retrained: dict[str, Any]) -> None:
    counts = {name: Counter(read_samples(path)["id"]) for name, path in retrained["files"].items()}
    chosen = ["query/a/0000", "query/b/0000", "query/a/0001"]
    assert counts["none"] == counts["dmin"] == dict.fromkeys(chosen, 2)
    assert counts["random"] == dict.fromkeys(chosen, 4)
    steps = [json.loads(path.read_text())["train"]["steps"] for path in retrained["models"].glob("*/set*/model.json")]
    # As many epochs on 9 of 12 samples are three of four steps.
    assert Counter(steps) == {4: 2, 3: 10}


def test_image_comes_from_the_recorded_noise_alone(retrained: dict[str, Any]) -> None:
    weights = retrained["models"] / "dmin" / "set0001-1" / "pipeline"
    query = read_samples(retrained["queries"]).query("id == 'query/b/0000'").reset_index(drop=True)
    model = TrainedModel(retrained["base"], weights)
    again = generate_images(query, model, {"steps": 2, "guidance": 1.0, "size": SIZE}, Pace("cpu", 1))
    table = read_samples(retrained["files"]["dmin"]).query("set == '1' and repeat == '1'")
    assert table["id"].tolist() == ["query/b/0000"]
    assert (sample_pixels(table) == sample_pixels(again)).all()


def test_tables_of_distances(retrained: dict[str, Any]) -> None:
    folder = retrained["folder"]
    config = {"k": 3, "budget": "epochs", "confidence": 0.9}
    names, files = list(retrained["files"]), list(retrained["files"].values())
    parts, out = group_parts(names, files), (folder / "removal.csv", folder / "summary.csv")
    removals = StudiedRemovals(parts, {"dmin": "64"})
    evaluate_removal(removals, retrained["queries"], config, RemovalFiles(*out), 8)
    table, summary = (pd.read_csv(path, dtype={"v": "string"}) for path in out)
    assert table.groupby(["method", "reference"]).size().to_dict() == {
        ("dmin", "nothing_removed"): 6, ("dmin", "original"): 6, ("none", "nothing_removed"): 6,
        ("none", "original"): 6, ("random", "nothing_removed"): 12, ("random", "original"): 12,
    }  # fmt: skip
    # The floor is one distance between two seeds, seen from both.
    floor = table[(table["method"] == "none") & (table["reference"] == "nothing_removed")]
    assert floor.groupby("query_id")["l2"].nunique().eq(1).all() and (floor["l2"] > 0).all()
    assert (summary["low"] <= summary["mean"]).all() and (summary["mean"] <= summary["high"]).all()
    random = summary[summary["method"] == "random"]
    assert (random[["difference", "difference_low", "difference_high"]] == 0).all(axis=None)
    chosen = (summary["reference"] == "original") & (summary["measure"] == "l2")
    means = summary[chosen].set_index("method")
    assert means.loc["dmin", "difference"] == pytest.approx(means.loc["dmin", "mean"] - means.loc["random", "mean"])
    assert means["queries"].eq(3).all() and means["seeds"].eq(2).all() and means.loc["dmin", "v"] == "64"
    assert means.loc["none", "k"] == 0 and means["budget"].eq("epochs").all()
    assert plot_removal(summary).axes[0].get_yticklabels()[0].get_text()


def test_distance_of_pixels_is_that_of_values_from_minus_one_to_one() -> None:
    black, white = np.zeros((1, 2, 3, 1), dtype=np.uint8), np.full((1, 2, 3, 1), 255, dtype=np.uint8)
    assert pixel_distance(black, white) == pytest.approx(2 * np.sqrt(6)) and pixel_distance(black, black) == 0


def test_single_seed_has_no_floor() -> None:
    images = pd.DataFrame({"method": ["none", "dmin"], "id": "q", "repeat": 0})
    pairs = reference_rows(images).to_numpy().tolist()
    assert pairs == [[0, "original", -1], [1, "original", -1], [1, "nothing_removed", 0]]


def test_uneven_strips_are_refused() -> None:
    image = np.zeros((4, 4, 1), dtype=np.uint8)
    assert plot_image_strips([("one", [image]), ("two", [image])], "note").get_size_inches()[0] > 0
    for rows in ([], [("one", [])], [("one", [image]), ("two", [image, image])]):
        with pytest.raises(UserError, match="have no images or differ in length"):
            plot_image_strips(rows, "note")
