"""Ranked lists and the scores of a run, from files to files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fabricated import METADATA, compress_shards, write_gradients
from schema_defaults import lists, options

from dmin.attribution import gradient_rows
from dmin.attribution.gradient_files import GradientFiles, GradientSides
from dmin.attribution.outputs import ScoreFiles
from dmin.attribution.ranking import rank_top
from dmin.attribution.sample_tables import SampleTables
from dmin.attribution.score import score
from dmin.data.samples import write_samples
from dmin.gradients import stream
from dmin.runtime.errors import UserError

SUBSETS = {"q/1": "a", "q/2": "b", "a/1": "a", "a/2": "a", "b/1": "b", "a/1+noise": "noise"}
TRAIN = ["a/1", "a/2", "b/1", "a/1+noise"]


def test_ranks_start_at_one_and_ties_keep_their_order() -> None:
    scores = np.array([[0.5, 0.9, 0.5, 0.9], [-1.0, -1.0, -1.0, 2.0]], np.float32)
    top = rank_top(scores, ["q/1", "q/2"], TRAIN, SUBSETS, 3)
    assert list(top.columns) == [
        "query_id", "query_subset", "rank", "sample_id", "sample_subset", "score",
        "p_value", "significant", "low", "high",
    ]  # fmt: skip
    assert top[["p_value", "significant", "low", "high"]].isna().all(axis=None)
    assert top["rank"].tolist() == [1, 2, 3, 1, 2, 3]
    assert top["sample_id"].tolist() == ["a/2", "a/1+noise", "a/1", "a/1+noise", "a/1", "a/2"]
    assert top["query_id"].tolist() == ["q/1"] * 3 + ["q/2"] * 3
    assert top["query_subset"].tolist() == ["a"] * 3 + ["b"] * 3
    assert top["sample_subset"].tolist() == ["a", "noise", "a", "noise", "a", "a"]
    assert top["score"].tolist() == pytest.approx([0.9, 0.9, 0.5, 2.0, -1.0, -1.0])
    assert top["score"].dtype == np.float32


def test_full_ranking_is_a_permutation_sorted_by_score() -> None:
    generator = np.random.default_rng(0)
    scores = generator.integers(0, 5, (3, 50)).astype(np.float32)
    queries, train = [f"q/{n}" for n in range(3)], [f"t/{n}" for n in range(50)]
    top = rank_top(scores, queries, train, dict.fromkeys([*queries, *train], "s"), 50)
    for row, (_, frame) in enumerate(top.groupby("query_id", sort=False)):
        places = [train.index(sample) for sample in frame["sample_id"]]
        assert sorted(places) == list(range(50))
        # Sorted by falling score, and by place where scores are equal.
        assert places == sorted(range(50), key=lambda place: (-scores[row, place], place))


@pytest.fixture
def run(tmp_path: Path) -> dict[str, Any]:
    """The inputs and outputs of one scoring job."""
    generator = np.random.default_rng(0)
    train = write_gradients(tmp_path / "t.safetensors", TRAIN, generator.standard_normal((4, 3, 64)))
    queries = write_gradients(tmp_path / "q.safetensors", ["q/1", "q/2"], generator.standard_normal((2, 3, 64)))
    tables = [tmp_path / "train.parquet", tmp_path / "queries.parquet"]
    for path, ids in zip(tables, (TRAIN, ["q/1", "q/2"]), strict=True):
        write_samples(pd.DataFrame({"id": ids, "subset": [SUBSETS[name] for name in ids]}), path)
    sides = GradientSides(
        queries=GradientFiles([queries], compress_shards([queries], 16, tmp_path / "queries.npy")),
        train=GradientFiles([train], compress_shards([train], 16, tmp_path / "train.npy")),
    )
    return {
        "method": "dmin",
        "sides": sides,
        "tables": SampleTables(queries=tables[1], train=tables[0]),
        "options": options(),
        "lists": lists(top_k=3),
        "files": ScoreFiles(
            scores=tmp_path / "out" / "scores.npy",
            description=tmp_path / "out" / "scores.json",
            top=tmp_path / "out" / "exact" / "top.parquet",
            metrics=tmp_path / "out" / "scores.metrics.json",
        ),
    }


def test_large_sketches_are_read_by_all_threads(run: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def products(store: np.ndarray, queries: np.ndarray, threads: int = 1) -> Any:
        asked.append(threads)
        return stream.stream_products(store, queries, threads)

    monkeypatch.setattr(gradient_rows, "stream_products", products)
    score(**run)
    once = run["files"].scores.read_bytes()
    monkeypatch.setattr(gradient_rows, "LARGE_BYTES", 0)
    score(**{**run, "sides": replace(run["sides"], threads=3)})
    assert asked == [1, 3] and run["files"].scores.read_bytes() == once


def uncompressed(sides: GradientSides) -> GradientSides:
    return GradientSides(GradientFiles(sides.queries.shards), GradientFiles(sides.train.shards))


@pytest.mark.parametrize("method", ["dmin", "dmin_no_norm"])
@pytest.mark.parametrize("compressed", [True, False])
def test_score_writes_matrix_ids_and_lists(run: dict[str, Any], method: str, compressed: bool) -> None:
    files, sides = run["files"], run["sides"] if compressed else uncompressed(run["sides"])
    score(**{**run, "method": method, "sides": sides})
    matrix = np.load(files.scores)
    facts = json.loads(files.description.read_text())
    assert matrix.shape == (2, 4) and matrix.dtype == np.float32
    assert facts["queries"] == ["q/1", "q/2"] and facts["train"] == TRAIN
    assert facts["method"] == method and facts["width"] == (16 if compressed else 64)
    assert {name: facts[name] for name in METADATA} == METADATA
    top = pd.read_parquet(run["files"].top)
    ranked = rank_top(matrix, facts["queries"], facts["train"], SUBSETS, 3)
    pd.testing.assert_frame_equal(top.drop(columns=["low", "high"]), ranked.drop(columns=["low", "high"]))
    assert (top["low"] < top["score"]).all() and (top["score"] < top["high"]).all()
    metrics = json.loads(run["files"].metrics.read_text())
    assert (metrics["queries"], metrics["samples"], metrics["method"]) == (2, 4, method)


def test_scores_are_the_same_twice(run: dict[str, Any]) -> None:
    score(**run)
    first = run["files"].scores.read_bytes(), run["files"].top.read_bytes()
    score(**run)
    assert (run["files"].scores.read_bytes(), run["files"].top.read_bytes()) == first


def test_list_longer_than_the_training_set_is_refused(run: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"influence\.top_k is 5, but the training set has 4 samples; lower it"):
        score(**{**run, "lists": lists(top_k=5)})
    assert not run["files"].scores.exists()


def test_scores_that_are_not_finite_are_refused(run: dict[str, Any], tmp_path: Path) -> None:
    gradients = np.ones((1, 3, 64))
    gradients[0, 0, 0] = np.nan
    bad = write_gradients(tmp_path / "bad.safetensors", ["q/1"], gradients)
    sides = GradientSides(GradientFiles([bad]), uncompressed(run["sides"]).train)
    with pytest.raises(UserError, match="Method dmin gave scores that are not finite"):
        score(**{**run, "sides": sides})
    assert not run["files"].scores.exists()


def test_subsets_come_from_every_table(run: dict[str, Any]) -> None:
    assert run["tables"].subsets() == SUBSETS
