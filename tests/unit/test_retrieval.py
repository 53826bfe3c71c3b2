"""The HNSW index against exact search on small random data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dmin.attribution.ranking import rank_top
from dmin.attribution.sample_tables import SampleTables
from dmin.data.samples import write_samples
from dmin.evaluation.retrieval_table import recall_at
from dmin.retrieval.answers import Answers
from dmin.retrieval.hnsw import Construction, IndexFiles, build_index, retrieve
from dmin.runtime.atomic import write_json
from dmin.runtime.errors import UserError

N, M, T, V = 120, 7, 3, 16
SETTINGS = {"timesteps": [900, 500, 100], "sketch_seed": 5, "v": V}


def _write(path: Path, prefix: str, count: int, seed: int, **changes: Any) -> Path:
    rows = np.random.default_rng(seed).standard_normal((count, T, V))
    rows /= np.linalg.norm(rows, axis=-1, keepdims=True)
    np.save(path, rows.astype(np.float16))
    ids = [f"{prefix}/{number}" for number in range(count)]
    write_json({**SETTINGS, **changes, "ids": ids}, path.with_suffix(".json"))
    write_samples(pd.DataFrame({"id": ids, "subset": [prefix] * count}), path.with_suffix(".parquet"))
    return path


@pytest.fixture
def sketches(tmp_path: Path) -> tuple[Path, Path]:
    return _write(tmp_path / "train.npy", "t", N, 0), _write(tmp_path / "queries.npy", "q", M, 1)


def _build(train: Path, name: str = "index", links: int = 8, seed: int = 1) -> Path:
    index = train.with_name(f"{name}.hnsw")
    files = IndexFiles(index, index.with_suffix(".json"), index.with_suffix(".metrics.json"))
    build_index(train, Construction(links, 50, seed), files)
    return index


def _retrieve(index: Path, train: Path, queries: Path, ef: int, top_k: int) -> pd.DataFrame:
    tables = SampleTables(queries=queries.with_suffix(".parquet"), train=train.with_suffix(".parquet"))
    top = index.with_name("top.parquet")
    retrieve(
        index, queries, tables, {"ef": ef, "top_k": top_k}, Answers(top, index.with_name("retrieval.metrics.json"))
    )
    return pd.read_parquet(top)


def _exact(train: Path, queries: Path, top_k: int) -> pd.DataFrame:
    left, right = (np.load(path).astype(np.float32).reshape(-1, T * V) for path in (queries, train))
    ids = [json.loads(path.with_suffix(".json").read_text())["ids"] for path in (queries, train)]
    subsets = {name: name[0] for names in ids for name in names}
    return rank_top(left @ right.T, *ids, subsets, top_k)


@pytest.mark.parametrize("top_k", [1, 20, N])
def test_search_as_wide_as_the_data_finds_everything(sketches: tuple[Path, Path], top_k: int) -> None:
    train, queries = sketches
    found = _retrieve(_build(train), train, queries, ef=N, top_k=top_k)
    exact = _exact(train, queries, top_k)
    assert recall_at(found, exact, top_k) == 1.0
    assert list(found.columns) == list(exact.columns) and len(found) == M * top_k
    for column in ("query_id", "query_subset", "rank", "sample_subset"):
        assert found[column].tolist() == exact[column].tolist()
    # Scores are inner products again, not hnswlib's distances.
    np.testing.assert_allclose(found["score"], exact["score"], atol=1e-3)
    falling = found.groupby("query_id")["score"].apply(lambda scores: scores.is_monotonic_decreasing)
    assert falling.all()


def test_the_same_input_builds_the_same_bytes(sketches: tuple[Path, Path]) -> None:
    train, _ = sketches
    assert _build(train, "one").read_bytes() == _build(train, "other").read_bytes()
    assert _build(train, "seeded", seed=2).read_bytes() != _build(train, "one").read_bytes()


def test_descriptions_name_settings_and_cost(sketches: tuple[Path, Path]) -> None:
    train, queries = sketches
    index = _build(train)
    facts = json.loads(index.with_suffix(".json").read_text())
    assert facts["M"] == 8 and facts["ef_construction"] == 50 and facts["seed"] == 1 and facts["v"] == V
    assert facts["ids"] == [f"t/{number}" for number in range(N)]
    built = json.loads(index.with_suffix(".metrics.json").read_text())
    assert (built["samples"], built["v"], built["bytes"]) == (N, V, index.stat().st_size)
    _retrieve(index, train, queries, ef=60, top_k=5)
    searched = json.loads(index.with_name("retrieval.metrics.json").read_text())
    assert (searched["v"], searched["ef"], searched["queries"]) == (V, 60, M)
    assert 0 < searched["p50_ms"] <= searched["p95_ms"]


def test_narrow_search_still_fills_the_list(sketches: tuple[Path, Path]) -> None:
    train, queries = sketches
    # hnswlib searches at least top_k candidates, so a smaller ef costs recall, not rows.
    found = _retrieve(_build(train), train, queries, ef=1, top_k=30)
    assert (found.groupby("query_id").size() == 30).all()
    assert not found.duplicated(["query_id", "sample_id"]).any()


def test_list_longer_than_the_index_is_refused(sketches: tuple[Path, Path]) -> None:
    train, queries = sketches
    with pytest.raises(UserError, match=rf"influence\.top_k is {N + 1}, but the training set has {N} samples"):
        _retrieve(_build(train), train, queries, ef=N, top_k=N + 1)


def test_other_settings_are_refused_by_field(sketches: tuple[Path, Path], tmp_path: Path) -> None:
    train, _ = sketches
    queries = _write(tmp_path / "other.npy", "q", M, 1, timesteps=[900, 500, 99])
    with pytest.raises(UserError, match=r"index\.hnsw' and '.*other\.npy' differ in timesteps"):
        _retrieve(_build(train), train, queries, ef=10, top_k=5)


@pytest.mark.parametrize("keep", [0, 50, 4000, -1])
def test_torn_index_is_named(sketches: tuple[Path, Path], keep: int) -> None:
    train, queries = sketches
    index = _build(train)
    index.write_bytes(index.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"Index '.*index\.hnsw' is torn"):
        _retrieve(index, train, queries, ef=10, top_k=5)


def test_recall_by_hand() -> None:
    def ranked(lists: dict[str, list[str]]) -> pd.DataFrame:
        rows = [(query, rank, name) for query, names in lists.items() for rank, name in enumerate(names, start=1)]
        return pd.DataFrame(rows, columns=["query_id", "rank", "sample_id"])

    exact = ranked({"q1": ["a", "b", "c"], "q2": ["a", "b", "c"]})
    found = ranked({"q1": ["b", "a", "x"], "q2": ["c", "x", "y"]})
    # Order within the top k does not count; a sample found for one query does not help another.
    assert recall_at(found, exact, 1) == 0.0
    assert recall_at(found, exact, 2) == pytest.approx(2 / 4)
    assert recall_at(found, exact, 3) == pytest.approx(3 / 6)
    assert recall_at(exact, exact, 3) == 1.0


@pytest.mark.fault("an index whose links are too few to reach top_k samples", "one sentence that names hnsw.M")
def test_unconnected_index_is_told(tmp_path: Path) -> None:
    train, queries = _write(tmp_path / "train.npy", "t", N, 0), _write(tmp_path / "queries.npy", "q", M, 1)
    rows = np.load(train)
    # Many equal vectors take all links of each other.
    rows[:100] = rows[0]
    np.save(train, rows)
    index = tmp_path / "index.hnsw"
    build_index(train, Construction(2, 5, 1), IndexFiles(index, index.with_suffix(".json"), tmp_path / "m.json"))
    with pytest.raises(UserError, match=r"leads to fewer than 50 of its 120 samples.*hnsw\.M is 2\); raise hnsw\.M"):
        _retrieve(index, train, queries, 5000, 50)
