"""The cost of each method, from fabricated metrics of a run's stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dmin.evaluation.cost import evaluate_cost
from dmin.evaluation.cost_summary import COLUMNS, evaluate_cost_summary
from dmin.runtime.atomic import write_json

# Ten training samples, two queries, three timesteps, 50 parameters.
RAW = 4 * 10 * 3 * 50
NORMS = 4 * 10 * 3
LOSS = {"train": ["loss"], "queries": ["loss"]}


def _metrics(path: Path, seconds: float, peak: int, **facts: Any) -> Path:
    write_json({"seconds": seconds, "peak_memory_bytes": peak, "hardware": "one core", **facts}, path)
    return path


def stages(run: Path) -> dict[str, list[Path]]:
    cached = {"samples": 5, "timesteps": 3, "bytes": 990, "raw_bytes": RAW // 2}
    return {
        "cache": [_metrics(run / "loss" / "train" / f"{n}.json", 2.0, 100, **cached) for n in range(2)],
        "query": [_metrics(run / "loss" / "queries" / "q.json", 1.0, 120, samples=2, bytes=400, raw_bytes=1200)],
        "compress": [_metrics(run / "loss" / "v16" / "train.metrics.json", 0.5, 50, samples=10, bytes=960)],
        "index": [_metrics(run / "index" / "v16" / "M8.metrics.json", 0.25, 60, samples=10, bytes=2000)],
        "score": [
            _metrics(run / "dmin" / "v16" / "scores.metrics.json", 0.2, 5, samples=10, bytes=80, method="dmin"),
            _metrics(run / "dmin" / "vfull" / "scores.metrics.json", 0.4, 500, samples=10, bytes=80, method="dmin"),
            _metrics(run / "text" / "scores.metrics.json", 0.1, 70, samples=10, bytes=80, method="text"),
        ],
        "retrieve": [_metrics(run / "dmin" / "v16" / "hnsw" / "retrieval.metrics.json", 0.002, 5, queries=2)],
    }


@pytest.fixture
def made(tmp_path: Path) -> tuple[pd.DataFrame, str]:
    evaluate_cost_summary(stages(tmp_path / "v2"), {"dmin": LOSS}, tmp_path / "summary.csv", tmp_path / "summary.md")
    frame = pd.read_csv(
        tmp_path / "summary.csv", dtype={"v": "string"}, keep_default_na=False, na_values={"total_bytes": ""}
    )
    return frame, (tmp_path / "summary.md").read_text()


def test_every_method_width_and_backend_has_a_row(made: tuple[pd.DataFrame, str]) -> None:
    frame, _ = made
    assert list(frame.columns) == COLUMNS
    assert list(zip(frame["method"], frame["v"], frame["backend"], strict=True)) == [
        ("uncompressed", "full", ""),
        ("dmin", "16", "exact"),
        ("dmin", "full", "exact"),
        ("text", "", "exact"),
        ("dmin", "16", "hnsw"),
    ]
    assert set(frame["samples"]) == {10} and set(frame["queries"]) == {2}


def test_time_is_split_into_caching_gradient_and_search(made: tuple[pd.DataFrame, str]) -> None:
    frame = made[0].set_index(["method", "v", "backend"])
    assert frame["caching_seconds"].tolist() == [4.0, 4.5, 4.0, 0.0, 4.75]
    assert frame["gradient_seconds_per_query"].tolist() == [0.5, 0.5, 0.5, 0.0, 0.5]
    assert frame["search_seconds_per_query"].tolist() == ["", "0.1", "0.2", "0.05", "0.001"]


def test_storage_is_what_the_search_keeps(made: tuple[pd.DataFrame, str]) -> None:
    frame, _ = made
    assert frame["total_bytes"].tolist() == [RAW, 960 + NORMS, RAW // 2 + NORMS, 0, 2000]
    assert frame["bytes_per_sample"].tolist() == [RAW / 10, 108, (RAW // 2 + NORMS) / 10, 0, 200]
    assert frame["share_of_uncompressed"].tolist() == pytest.approx([1, 1080 / RAW, 0.52, 0, 2000 / RAW])


def test_memory_is_the_largest_of_the_stages_involved(made: tuple[pd.DataFrame, str]) -> None:
    assert made[0]["peak_memory_bytes"].tolist() == [120, 120, 500, 70, 120]


def test_page_tells_the_same_in_units_for_people(made: tuple[pd.DataFrame, str]) -> None:
    _, page = made
    assert "10 training samples, 2 queries; one core." in page
    rows = [line for line in page.splitlines() if line.startswith("| dmin | 16 | hnsw")]
    assert rows == ["| dmin | 16 | hnsw | 4.8 s | 500 ms | 1 ms | 200 B | 1.95 KiB | 33.3 % | 120 B |"]
    assert "| text | - | exact | 0 | 0 | 50 ms | 0 | 0 | 0 % | 70 B |" in page
    assert "| uncompressed | full | - | 4.0 s | 500 ms | - |" in page


def test_methods_with_caches_of_their_own_bear_their_cost(tmp_path: Path) -> None:
    run, made = tmp_path / "v2", stages(tmp_path / "v2")
    for step in (1, 2):
        name = f"checkpoint-{step}"
        seen = {"samples": 10, "timesteps": 1, "bytes": 70, "raw_bytes": 2000}
        made["cache"].append(_metrics(run / name / "train" / "0.json", 3.0, 700, **seen))
        made["query"].append(_metrics(run / name / "queries" / "0.json", 4.0, 120, **{**seen, "samples": 2}))
        made["compress"].append(_metrics(run / name / "v16" / "train.metrics.json", 0.5, 50, samples=10, bytes=320))
    # A sketch per tensor has a width that the others lack.
    blocks = {"samples": 10, "timesteps": 3, "bytes": 70, "raw_bytes": RAW}
    made["cache"].append(_metrics(run / "loss_blocks" / "train" / "0.json", 5.0, 90, **blocks))
    made["query"].append(_metrics(run / "loss_blocks" / "queries" / "0.json", 1.5, 90, **{**blocks, "samples": 2}))
    made["compress"].append(
        _metrics(run / "loss_blocks" / "v40" / "train.metrics.json", 0.25, 50, samples=10, bytes=2400)
    )
    for method, v in (("tracin", "v16"), ("datainf", "v40")):
        path = run / method / v / "scores.metrics.json"
        made["score"].append(_metrics(path, 0.6, 5, samples=10, bytes=80, method=method))
    steps, own = ["checkpoint-1", "checkpoint-2"], ["loss_blocks"]
    read = {"dmin": LOSS, "tracin": {"train": steps, "queries": steps}, "datainf": {"train": own, "queries": own}}
    evaluate_cost_summary(made, read, tmp_path / "summary.csv", tmp_path / "summary.md")
    frame = pd.read_csv(tmp_path / "summary.csv").set_index(["method", "backend"])
    tracin, datainf = frame.loc[("tracin", "exact")], frame.loc[("datainf", "exact")]
    assert (tracin["caching_seconds"], tracin["gradient_seconds_per_query"]) == (7.0, 4.0)
    assert (tracin["total_bytes"], tracin["peak_memory_bytes"]) == (2 * (320 + 4 * 10), 700)
    assert (datainf["caching_seconds"], datainf["gradient_seconds_per_query"]) == (5.25, 0.75)
    assert (datainf["v"], datainf["total_bytes"]) == ("40", 2400 + NORMS)
    assert frame.loc[("dmin", "hnsw"), "caching_seconds"] == 4.75
    assert not frame[["caching_seconds", "bytes_per_sample", "peak_memory_bytes"]].isna().any().any()


def test_a_student_bears_the_gradients_of_training_samples_alone_and_keeps_its_values(tmp_path: Path) -> None:
    run, made = tmp_path / "v2", stages(tmp_path / "v2")
    facts = {"samples": 10, "bytes": 80, "method": "student", "kept_bytes": 160}
    made["score"].append(_metrics(run / "student" / "scores.metrics.json", 0.8, 90, **facts))
    read = {"dmin": LOSS, "student": {"train": ["loss"], "queries": []}}
    evaluate_cost_summary(made, read, tmp_path / "summary.csv", tmp_path / "summary.md")
    row = pd.read_csv(tmp_path / "summary.csv").set_index("method").loc["student"]
    assert pd.isna(row["v"]) and (row["bytes_per_sample"], row["total_bytes"]) == (16, 160)
    seconds = ["caching_seconds", "gradient_seconds_per_query", "search_seconds_per_query"]
    assert row[seconds].tolist() == [4.0, 0, 0.4]
    evaluate_cost(made, read, tmp_path / "cost.csv")
    stages_of = pd.read_csv(tmp_path / "cost.csv").groupby("method")["stage"].agg(list)
    assert stages_of["student"] == ["cache", "compress v=16", "score"]
