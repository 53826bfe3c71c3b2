"""Tables on timesteps and seeds: how alike timesteps are, how few will do, whose draw decides, and other trainings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fabricated import compress_shards, write_gradients
from schema_defaults import options

from dmin.attribution.gradient_files import GradientFiles, GradientSides
from dmin.attribution.gradient_rows import GradientRows
from dmin.attribution.registry import METHODS
from dmin.attribution.sample_tables import SampleTables
from dmin.data.samples import write_samples
from dmin.evaluation.fewer_timesteps import ChosenTimesteps, score_fewer_timesteps
from dmin.evaluation.replay_bias import evaluate_replay_bias
from dmin.evaluation.seed_agreement import evaluate_seed_agreement
from dmin.evaluation.timestep_cosines import evaluate_timestep_cosines, timestep_cosines
from dmin.runtime.errors import UserError

P = 64


@pytest.fixture
def cache(tmp_path: Path) -> dict[str, GradientFiles]:
    """Gradients whose first two timesteps are alike, and whose third alone tells the two subsets apart."""
    generator, files = np.random.default_rng(0), {}
    centre = 3 * generator.standard_normal((2, P))
    for split, count in (("train", 40), ("queries", 10)):
        early = generator.standard_normal((count, 1, P))
        near = early + 0.3 * generator.standard_normal((count, 1, P))
        late = centre[np.arange(count) % 2][:, None] + generator.standard_normal((count, 1, P))
        ids = [f"{split}/{number}" for number in range(count)]
        shard = write_gradients(
            tmp_path / f"{split}.safetensors", ids, np.concatenate([early, near, late], 1), cache_dim=P
        )
        write_samples(pd.DataFrame({"id": ids, "subset": ["a", "b"] * (count // 2)}), tmp_path / f"{split}.parquet")
        files[split] = GradientFiles([shard], compress_shards([shard], P, tmp_path / f"{split}.npy"))
    return files


def test_cosines_of_timesteps_are_those_of_the_gradients(cache: dict[str, GradientFiles], tmp_path: Path) -> None:
    evaluate_timestep_cosines(cache, 0.95, tmp_path / "table.csv")
    table = pd.read_csv(tmp_path / "table.csv").set_index(["split", "timestep", "other"])
    assert table["apart"].tolist() == [1, 2, 1] * 2 and table["samples"].tolist() == [40] * 3 + [10] * 3
    near, far = table.loc[("train", 900, 500)], table.loc[("train", 900, 100)]
    assert near["cosine"] == pytest.approx(1 / np.sqrt(1.09), abs=0.03) and near["low"] < near["cosine"] < near["high"]
    assert far["low"] < 0.05 and far["high"] > -0.05
    assert timestep_cosines(np.zeros((1, 2, 3))).tolist() == [[[0, 0], [0, 0]]]


@pytest.mark.parametrize("method", ["dmin", "dmin_no_norm", "trak", "grad_cos"])
def test_fewer_timesteps_are_scored_as_a_cache_of_them(
    method: str, cache: dict[str, GradientFiles], tmp_path: Path
) -> None:
    rows = {split: files.read() for split, files in cache.items()}
    chosen = {split: ChosenTimesteps(read, [900, 100]) for split, read in rows.items()}
    found = METHODS[method].scores(chosen["queries"], chosen["train"], options())
    alone = {}
    for split, read in rows.items():
        raw = np.ascontiguousarray(read.all()[:, [0, 2]] * read.norms[:, [0, 2], None])
        shard = write_gradients(tmp_path / f"two-{split}.safetensors", read.ids, raw, timesteps=[900, 100], cache_dim=P)
        alone[split] = GradientRows([shard], None)
    expected = METHODS[method].scores(alone["queries"], alone["train"], options())
    # The lengths of sketches differ a little from those of the gradients.
    assert min(np.corrcoef(one, two)[0, 1] for one, two in zip(found, expected, strict=True)) > 0.99


def test_table_says_which_timesteps_suffice(cache: dict[str, GradientFiles], tmp_path: Path) -> None:
    sides = GradientSides(cache["queries"], cache["train"])
    tables = SampleTables(tmp_path / "queries.parquet", tmp_path / "train.parquet")
    subsets, measures = [[900], [100], [900, 500, 100]], (tables, {"k": [5], "confidence": 0.95})
    score_fewer_timesteps("dmin", sides, options(), subsets, measures, tmp_path / "t.csv")
    table = pd.read_csv(tmp_path / "t.csv").set_index("timesteps")
    assert table["T"].tolist() == [1, 1, 3] and set(table["method"]) == {"dmin"} and set(table["v"]) == {P}
    whole = table.loc["900 500 100"]
    assert whole["recall"] == 1 and whole["spearman"] == pytest.approx(1)
    assert table.loc["100", "rate"] > 0.9 > 0.7 > table.loc["900", "rate"]
    assert table.loc["100", "low"] <= table.loc["100", "rate"] <= table.loc["100", "high"]


def write_scores(path: Path, values: np.ndarray, train: list[str], **facts: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, values.astype(np.float32))
    queries = [f"q/{number}" for number in range(len(values))]
    path.with_suffix(".json").write_text(json.dumps({"queries": queries, "train": train, **facts}))
    return path


def test_influence_that_follows_the_drawn_timestep_is_told(tmp_path: Path) -> None:
    generator, ids = np.random.default_rng(1), [f"t/{number}" for number in range(30)]
    lengths = generator.uniform(0.1, 10, (2, 30))
    shards = [
        [write_gradients(tmp_path / f"{place}.safetensors", ids, np.repeat(each, 40).reshape(30, 1, 40) / 40**0.5)]
        for place, each in enumerate(lengths)
    ]
    weights = [2.0, 0.5]
    total = np.array(weights) @ lengths
    signs = np.sign(generator.standard_normal((12, 30)))
    scores = {
        ("tracin", "8"): write_scores(tmp_path / "a" / "scores.npy", signs * total, ids, weights=weights),
        ("retrac", "8"): write_scores(
            tmp_path / "b" / "scores.npy", generator.standard_normal((12, 30)), ids, weights=weights
        ),
    }
    evaluate_replay_bias(scores, shards, 0.95, tmp_path / "bias.csv")
    table = pd.read_csv(tmp_path / "bias.csv").set_index("method")
    assert table.loc["tracin", "spearman"] == pytest.approx(1) and table.loc["tracin", "queries"] == 12
    assert table.loc["retrac", "low"] < 0.1 and abs(table.loc["retrac", "spearman"]) < 0.25
    # What training saw ten times counts ten times, whatever it drew.
    times = np.where(np.arange(30) < 15, 10, 1)
    facts = {"weights": weights, "repeats": times.tolist()}
    repeated = write_scores(tmp_path / "d" / "scores.npy", times * signs * total, ids, **facts)
    evaluate_replay_bias({("tracin", "8"): repeated}, shards, 0.95, tmp_path / "repeated.csv")
    assert pd.read_csv(tmp_path / "repeated.csv")["spearman"].item() == pytest.approx(1)
    other = write_scores(tmp_path / "c" / "scores.npy", signs, ids[::-1], weights=weights)
    with pytest.raises(UserError, match="of other samples than the replayed ones"):
        evaluate_replay_bias({("tracin", "8"): other}, shards, 0.95, tmp_path / "bias.csv")


def test_seeds_agree_where_scores_do(tmp_path: Path) -> None:
    generator, ids = np.random.default_rng(2), [f"t/{number}" for number in range(50)]
    values, noise = generator.standard_normal((2, 20, 50))
    scores = {
        (method, ""): {
            run: write_scores(tmp_path / method / run / "scores.npy", found, ids) for run, found in runs.items()
        }
        for method, runs in {
            "steady": {"r": values, "s": values + 0.1 * noise},
            "random": {"r": values, "s": noise},
        }.items()
    }
    evaluate_seed_agreement(scores, [5, 10], 0.95, tmp_path / "seeds.csv")
    table = pd.read_csv(tmp_path / "seeds.csv").set_index(["method", "k"])
    assert set(table["other"]) == {"s"} and set(table["queries"]) == {20}
    assert table.loc[("steady", 5), "spearman"] > 0.97 and table.loc[("steady", 5), "overlap"] > 0.8
    chance = table.loc[("random", 10)]
    assert chance["low"] < 0.05 and chance["high"] > -0.05 and chance["overlap"] == pytest.approx(0.2, abs=0.1)
    write_scores(scores["random", ""]["s"], noise, ids[::-1])
    with pytest.raises(UserError, match="name other train; delete both"):
        evaluate_seed_agreement(scores, [5], 0.95, tmp_path / "seeds.csv")
