"""The tables of norms, costs, retrieval and generation, from fabricated inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fabricated import write_gradients
from PIL import Image

from dmin.data.images import encode_png
from dmin.data.samples import write_samples
from dmin.evaluation import generation
from dmin.evaluation.cost import evaluate_cost
from dmin.evaluation.generation import Nearest, evaluate_generation
from dmin.evaluation.norms import evaluate_norms
from dmin.evaluation.retrieval_table import evaluate_retrieval
from dmin.runtime.atomic import write_json
from dmin.runtime.meter import Meter


def test_norms_are_long_and_named(tmp_path: Path) -> None:
    gradients = np.arange(1, 7, dtype=np.float32).reshape(2, 3, 1) * np.ones((2, 3, 64), np.float32) / 8
    train = write_gradients(tmp_path / "train" / "0.safetensors", ["a/1", "a/1+noise"], gradients)
    queries = write_gradients(tmp_path / "queries" / "0.safetensors", ["q/1"], gradients[:1])
    tables = [tmp_path / "train.parquet", tmp_path / "queries.parquet"]
    write_samples(pd.DataFrame({"id": ["a/1+noise", "a/1"], "subset": ["noise", "a"]}), tables[0])
    write_samples(pd.DataFrame({"id": ["q/1"], "subset": ["a"]}), tables[1])
    evaluate_norms([train, queries], tables, tmp_path / "norms.csv")
    table = pd.read_csv(tmp_path / "norms.csv")
    assert list(table.columns) == ["split", "sample_id", "subset", "timestep", "norm"]
    assert table.groupby("split").size().to_dict() == {"queries": 3, "train": 6}
    norms = table.set_index(["split", "sample_id", "timestep"])["norm"]
    assert norms["train", "a/1", 900] == pytest.approx(1.0)
    assert norms["train", "a/1+noise", 500] == pytest.approx(5.0)
    assert norms["queries", "q/1", 100] == pytest.approx(3.0)
    assert table.drop_duplicates("sample_id").set_index("sample_id")["subset"].to_dict() == {
        "a/1": "a",
        "a/1+noise": "noise",
        "q/1": "a",
    }


def _metrics(path: Path, seconds: float, peak: int, **facts: Any) -> Path:
    write_json({"seconds": seconds, "peak_memory_bytes": peak, "hardware": "one core", **facts}, path)
    return path


def test_costs_are_summed_over_jobs_and_told_per_sample(tmp_path: Path) -> None:
    # A run may be called v2, which must not be taken for a width.
    run = tmp_path / "v2"
    stages = {
        "cache": [
            _metrics(run / "loss" / "train" / "0.json", 1.5, 10, samples=6, bytes=600, raw_bytes=6000),
            _metrics(run / "loss" / "train" / "1.json", 2.5, 30, samples=4, bytes=400, raw_bytes=4000),
        ],
        "query": [
            _metrics(run / "loss" / "queries" / "q.json", 0.5, 20, samples=2, bytes=200, raw_bytes=2000),
            _metrics(run / "journey" / "queries" / "q.json", 0.75, 20, samples=2, bytes=300, raw_bytes=3000),
        ],
        "compress": [_metrics(run / "loss" / "v16" / "train.metrics.json", 0.1, 5, samples=10, bytes=320)],
        "index": [_metrics(run / "index" / "v16" / "M8.metrics.json", 0.2, 5, samples=10, bytes=999)],
        "score": [
            _metrics(run / "dmin" / "v16" / "scores.metrics.json", 0.3, 5, samples=10, bytes=80, method="dmin"),
            _metrics(run / "x" / "vfull" / "scores.metrics.json", 0.4, 5, samples=10, bytes=80, method="dmin_no_norm"),
        ],
        "retrieve": [_metrics(run / "dmin" / "v16" / "hnsw" / "retrieval.metrics.json", 0.05, 5)],
    }
    for step in (1, 2):
        name = f"checkpoint-{step}"
        facts = {"samples": 10, "bytes": 70, "raw_bytes": 700}
        stages["cache"].append(_metrics(run / name / "train" / "0.json", step, 40, **facts))
        stages["query"].append(_metrics(run / name / "queries" / "0.json", 0.25, 40, **{**facts, "samples": 2}))
        stages["compress"].append(_metrics(run / name / "v16" / "train.metrics.json", 0.1, 5, samples=10, bytes=30))
    checkpoints = ["checkpoint-1", "checkpoint-2"]
    read = {
        "dmin": {"train": ["loss"], "queries": ["loss"]},
        "journey_trak": {"train": ["loss"], "queries": ["journey"]},
        "tracin": {"train": checkpoints, "queries": checkpoints},
    }
    evaluate_cost(stages, read, tmp_path / "cost.csv")
    table = pd.read_csv(tmp_path / "cost.csv").set_index(["method", "stage"])
    assert table["seconds"].to_dict() == {
        ("dmin", "cache"): 4.0,
        ("uncompressed", "cache"): 4.0,
        ("dmin", "query"): 0.5,
        ("uncompressed", "query"): 0.5,
        ("dmin", "compress v=16"): 0.1,
        ("dmin", "index v=16"): 0.2,
        ("dmin", "score v=16"): 0.3,
        ("dmin_no_norm", "score v=full"): 0.4,
        ("dmin", "retrieve v=16"): 0.05,
        ("journey_trak", "cache"): 4.0,
        ("journey_trak", "query"): 0.75,
        ("journey_trak", "compress v=16"): 0.1,
        ("tracin", "cache"): 3.0,
        ("tracin", "query"): 0.5,
        ("tracin", "compress v=16"): 0.2,
    }
    assert table.loc[("tracin", "cache"), "bytes_per_sample"] == 14
    assert table.loc[("tracin", "compress v=16"), "bytes_per_sample"] == 6
    cache = table.loc[("dmin", "cache")]
    assert (cache["bytes_per_sample"], cache["total_bytes"], cache["peak_memory_bytes"]) == (100, 1000, 30)
    assert table.loc[("uncompressed", "cache"), "bytes_per_sample"] == 1000
    assert table.loc[("dmin", "compress v=16"), "bytes_per_sample"] == 32
    assert pd.isna(table.loc[("dmin", "retrieve v=16"), "total_bytes"])
    assert ",10000,30," in (tmp_path / "cost.csv").read_text().splitlines()[1]


def _ranked(path: Path, lists: dict[str, list[str]]) -> Path:
    rows = [(query, rank, name) for query, names in lists.items() for rank, name in enumerate(names, start=1)]
    pd.DataFrame(rows, columns=["query_id", "rank", "sample_id"]).to_parquet(path)
    return path


def test_retrieval_table_joins_search_and_index_by_width(tmp_path: Path) -> None:
    exact = [_ranked(tmp_path / f"exact{v}.parquet", {"q": ["a", "b"], "r": ["c", "d"]}) for v in (16, 64)]
    lists = {16: {"q": ["b", "x"], "r": ["c", "y"]}, 64: {"q": ["a", "b"], "r": ["c", "d"]}}
    folders = {v: tmp_path / "dmin_scaled" / f"v{v}" / "hnsw" for v in lists}
    for folder in folders.values():
        folder.mkdir(parents=True)
    found = [_ranked(folders[v] / "top.parquet", names) for v, names in lists.items()]
    searches = [
        _metrics(tmp_path / f"s{name}{v}.json", 1, 1, backend=name, v=v, p50_ms=v / 100, p95_ms=v / 10)
        for name, v in (("hnsw", 16), ("hnsw", 64), ("exact", 64))
    ]
    # The indexes come in any order.
    indexes = [
        _metrics(tmp_path / f"i{name}{v}.json", v / 1000, 1, backend=name, v=v, bytes=v * 10)
        for name, v in (("hnsw", 64), ("cascade", 64), ("hnsw", 16))
    ]
    scanned = folders[64].with_name("exact") / "top.parquet"
    scanned.parent.mkdir()
    scanned.write_bytes(exact[1].read_bytes())
    evaluate_retrieval([*found, scanned], [*exact, exact[1]], searches, indexes, [2, 1], tmp_path / "retrieval.csv")
    table = pd.read_csv(tmp_path / "retrieval.csv")
    scan = table[table["backend"] == "exact"]
    assert (scan["recall"] == 1).all() and (scan[["build_seconds", "index_bytes"]] == 0).all(axis=None)
    table = table[table["backend"] != "exact"]
    assert table[["v", "k"]].to_numpy().tolist() == [[16, 1], [16, 2], [64, 1], [64, 2]]
    assert table["recall"].tolist() == [0.5, 0.5, 1.0, 1.0]
    assert table["p50_ms"].tolist() == [0.16, 0.16, 0.64, 0.64]
    assert table["build_seconds"].tolist() == [0.016, 0.016, 0.064, 0.064]
    assert table["index_bytes"].tolist() == [160, 160, 640, 640]
    assert set(table["method"]) == {"dmin_scaled"} and set(table["backend"]) == {"hnsw"}


def _unit(degrees: list[float]) -> np.ndarray:
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], 1)


def _votes(degrees: list[float], known: np.ndarray, subsets: np.ndarray, block: int) -> list[str]:
    nearest = Nearest(_unit(degrees))
    for start in range(0, len(known), block):
        nearest.add(known[start : start + block], subsets[start : start + block].tolist())
    return nearest.votes()


@pytest.mark.parametrize("block", [1, 3, 10])
def test_majority_of_the_nearest_five_wins_and_ties_go_to_the_nearest(block: int) -> None:
    known = _unit([1, 2, 3, 4, 5, 90, 91, 92, 93, 94])
    #                0  1  2  3  4  | far away
    majority = np.array(["b", "a", "a", "a", "b", "b", "b", "b", "b", "b"])
    assert _votes([0], known, majority, block) == ["a"]
    # Two a, two b and one c: b is nearest of the tied ones, although a comes first in the alphabet.
    tied = np.array(["c", "b", "a", "a", "b", "c", "c", "c", "c", "c"])
    assert _votes([0], known, tied, block) == ["b"]
    assert _votes([0, 95], known, tied, block) == ["b", "c"]


def test_generation_table_leaves_noised_copies_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hue(pixels: np.ndarray, batch: int) -> np.ndarray:
        means = pixels.mean((1, 2)) + 1.0
        return means / np.linalg.norm(means, axis=1, keepdims=True)

    monkeypatch.setattr(generation, "efficientnet_embeddings", hue)

    def table(path: Path, rows: list[tuple[str, tuple[int, int, int]]]) -> Path:
        images = [{"bytes": encode_png(Image.new("RGB", (4, 4), colour)), "path": None} for _, colour in rows]
        ids, subsets = [f"s/{n}" for n in range(len(rows))], [subset for subset, _ in rows]
        write_samples(pd.DataFrame({"id": ids, "subset": subsets, "image": images}), path)
        return path

    red, blue = (200, 0, 0), (0, 0, 200)
    train = table(tmp_path / "train.parquet", [("r", red)] * 5 + [("b", blue)] * 5 + [("noise", red)] * 9)
    queries = table(tmp_path / "queries.parquet", [("r", red), ("r", blue), ("b", blue)])
    evaluate_generation(train, queries, tmp_path / "generation.csv", 8)
    assert pd.read_csv(tmp_path / "generation.csv").to_dict("list") == {
        "subset": ["b", "r", "all"],
        "images": [1, 2, 3],
        "in_subset": [1, 1, 2],
        "rate": pytest.approx([1.0, 0.5, 2 / 3]),
    }


def test_meter_writes_what_a_stage_cost(tmp_path: Path) -> None:
    with Meter() as meter:
        pass
    meter.write(tmp_path / "metrics.json", samples=3)
    facts = pd.read_json(tmp_path / "metrics.json", typ="series")
    assert facts["samples"] == 3 and facts["seconds"] >= 0
    assert facts["peak_memory_bytes"] > 2**20 and "cores" in facts["hardware"]
