"""The HNSW ablation on small random data."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from dmin.attribution.ranking import rank_top
from dmin.attribution.sample_tables import SampleTables
from dmin.data.samples import write_samples
from dmin.evaluation.hnsw_ablation import COLUMNS, Searches, quality_rows, search_index
from dmin.evaluation.joined_table import join_tables
from dmin.retrieval.hnsw import Construction, IndexFiles, build_index
from dmin.runtime.atomic import write_json, write_parquet
from dmin.runtime.errors import UserError

TRAIN, QUERIES, T, V, TOP = 400, 12, 3, 8, 10


def write_split(folder: Path, split: str, count: int, seed: int) -> tuple[np.ndarray, list[str]]:
    rows = np.random.default_rng(seed).standard_normal((count, T, V)).astype(np.float16)
    ids = [f"{split}/{number}" for number in range(count)]
    np.save(folder / f"{split}.npy", rows)
    write_json({"timesteps": [900, 500, 100], "v": V, "ids": ids}, folder / f"{split}.json")
    subsets = ["ab"[number % 2] for number in range(count)]
    write_samples(pd.DataFrame({"id": ids, "subset": subsets}), folder / f"{split}.parquet")
    return rows.astype(np.float32).reshape(count, -1), ids


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Sketches of both splits and the exact lists."""
    (train, train_ids), (queries, query_ids) = (
        write_split(tmp_path, "train", TRAIN, 0),
        write_split(tmp_path, "queries", QUERIES, 1),
    )
    subsets = {name: "ab"[int(name.split("/")[1]) % 2] for name in [*train_ids, *query_ids]}
    write_parquet(rank_top(queries @ train.T, query_ids, train_ids, subsets, TOP), tmp_path / "exact.parquet")
    return tmp_path


def ablate(folder: Path, links: int, ef_construction: int, efs: list[int]) -> pd.DataFrame:
    index = folder / f"M{links}-efc{ef_construction}.hnsw"
    files = IndexFiles(index, index.with_suffix(".json"), index.with_suffix(".metrics.json"))
    build_index(folder / "train.npy", Construction(links, ef_construction, 1), files)
    tables = SampleTables(queries=folder / "queries.parquet", train=folder / "train.parquet")
    settings, out = Searches(ef=efs, k=[5, TOP], top_k=TOP), index.with_suffix(".csv")
    search_index(files, folder / "queries.npy", folder / "exact.parquet", tables, settings, out)
    return pd.read_csv(out)


def test_every_ef_and_subset_has_a_row_of_one_index(folder: Path) -> None:
    table = ablate(folder, 8, 40, [TRAIN, 20])
    assert list(table.columns) == COLUMNS
    assert table[["ef", "subset"]].to_numpy().tolist() == [
        [ef, subset] for ef in (20, TRAIN) for subset in ("a", "b", "mean")
    ]
    assert set(table["M"]) == {8} and set(table["ef_construction"]) == {40}
    assert table["build_seconds"].nunique() == table["index_bytes"].nunique() == 1
    assert table["index_bytes"].iloc[0] == (folder / "M8-efc40.hnsw").stat().st_size
    assert (table["p50_ms"] <= table["p95_ms"]).all() and (table["p50_ms"] > 0).all()


def test_wider_search_and_denser_graph_find_more(folder: Path) -> None:
    sparse, dense = (
        ablate(folder, links, 60, [TOP, TRAIN]).query("subset == 'mean'").set_index("ef")["recall"] for links in (2, 16)
    )
    assert sparse[TOP] < dense[TOP] <= dense[TRAIN] == 1.0
    assert sparse[TOP] < sparse[TRAIN]


def test_full_search_has_the_rate_of_the_exact_lists(folder: Path) -> None:
    exact = pd.read_parquet(folder / "exact.parquet")
    table = ablate(folder, 16, 60, [TRAIN]).set_index("subset")
    for subset, part in exact.groupby("query_subset"):
        hit = part["query_subset"] == part["sample_subset"]
        rates = [hit[part["rank"] <= k].mean() for k in (5, TOP)]
        assert table.loc[str(subset), "rate"] == pytest.approx(np.mean(rates))
    assert table.loc["mean", "rate"] == pytest.approx(table.loc[["a", "b"], "rate"].mean())


def test_quality_is_averaged_over_k_by_hand() -> None:
    def lists(names: str) -> pd.DataFrame:
        rows = [("q", "a", rank, name, "a" if name < "d" else "z") for rank, name in enumerate(names, start=1)]
        return pd.DataFrame(rows, columns=["query_id", "query_subset", "rank", "sample_id", "sample_subset"])

    own, mean = quality_rows(lists("adce"), lists("abcd"), [1, 2, 4])
    # Of the first one, two and four: 1, 1 and 2 are of the query's subset; 1, 1 and 3 stand in the exact lists.
    assert own["rate"] == pytest.approx((1 + 1 / 2 + 2 / 4) / 3)
    assert own["recall"] == pytest.approx((1 + 1 / 2 + 3 / 4) / 3)
    assert mean == {**own, "subset": "mean"}


def test_tables_of_the_indexes_become_one(folder: Path) -> None:
    for links in (4, 16):
        ablate(folder, links, 40, [20])
    join_tables([folder / "M4-efc40.csv", folder / "M16-efc40.csv"], folder / "all.csv")
    table = pd.read_csv(folder / "all.csv")
    assert table["M"].tolist() == [4] * 3 + [16] * 3
    assert list(table.columns) == COLUMNS


def test_index_too_large_for_the_disk_is_refused_before_it_is_built(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=4 * TRAIN * T * V - 1))
    with pytest.raises(UserError, match=r"index .*M8-efc40\.hnsw' needs .* free some space or index a smaller width"):
        ablate(folder, 8, 40, [20])
    assert not (folder / "M8-efc40.hnsw").exists()
