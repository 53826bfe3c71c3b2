"""The detection rate: a hand-computed example, its chance and its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from dmin.data.samples import write_samples
from dmin.evaluation.detection import (
    COLUMNS,
    RankedList,
    Rates,
    detection_rates,
    evaluate_detection,
    hits_at,
)

# Of the query's own subset, of another, or a noised copy of the query's own subset.
LISTS = {
    ("q/a/1", "a"): ["a", "noise", "a", "b"],
    ("q/a/2", "a"): ["b", "a", "noise", "noise"],
    ("q/b/1", "b"): ["b", "b", "b", "b"],
    ("q/b/2", "b"): ["noise", "a", "a", "b"],
    ("q/b/3", "b"): ["a", "a", "a", "a"],
}
CHANCE = {"a": 0.3, "b": 0.5, "noise": 0.2}


def _top(lists: Mapping[tuple[str, str], Sequence[str]]) -> pd.DataFrame:
    rows = [
        (query, subset, rank, f"{name}/{rank}", name, 1.0 / rank)
        for (query, subset), names in lists.items()
        for rank, name in enumerate(names, start=1)
    ]
    columns = ["query_id", "query_subset", "rank", "sample_id", "sample_subset", "score"]
    return pd.DataFrame(rows, columns=columns)


def _random_top(queries: int, hit_rate: float, k: int = 10, seed: int = 0) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    lists = {
        (f"q/{subset}/{number}", subset): [
            subset if hit else "noise"
            for hit in generator.random(k) < generator.uniform(hit_rate - 0.3, hit_rate + 0.3)
        ]
        for subset in ("a", "b")
        for number in range(queries)
    }
    return _top(lists)


def _rates(top: pd.DataFrame, k: int, confidence: float = 0.95) -> pd.DataFrame:
    evaluation: Rates = {"k": [k], "confidence": confidence}
    return pd.DataFrame(detection_rates(top, CHANCE, evaluation)).set_index("subset")


@pytest.mark.parametrize(
    ("k", "expected"),
    [
        (1, [1, 0, 1, 0, 0]),
        (2, [0.5, 0.5, 1, 0, 0]),
        (3, [2 / 3, 1 / 3, 1, 0, 0]),
        (4, [0.5, 0.25, 1, 0.25, 0]),
    ],
)
def test_hits_by_hand(k: int, expected: list[float]) -> None:
    rates = hits_at(_top(LISTS), k)
    assert list(rates.columns) == ["query_id", "query_subset", "rate"]
    assert rates["query_id"].tolist() == [query for query, _ in LISTS]
    assert rates["rate"].tolist() == pytest.approx(expected)


def test_noised_copies_are_never_hits() -> None:
    top = _top({("q/a/1", "a"): ["noise"] * 5})
    assert hits_at(top, 5)["rate"].tolist() == [0.0]


def test_row_order_does_not_matter() -> None:
    top = _top(LISTS)
    shuffled = top.sample(frac=1.0, random_state=0)
    pd.testing.assert_frame_equal(hits_at(top, 3), hits_at(shuffled, 3))


def test_table_by_hand() -> None:
    table = _rates(_top(LISTS), 4)
    assert table.index.tolist() == ["a", "b", "mean"]
    assert table["rate"].tolist() == pytest.approx([0.375, 1.25 / 3, (0.375 + 1.25 / 3) / 2])
    assert table["chance"].tolist() == pytest.approx([0.3, 0.5, 0.4])
    assert table["queries"].tolist() == [2, 3, 5]
    # Subsets weigh alike whatever their number of queries.
    assert table.loc["mean", "rate"] != pytest.approx(hits_at(_top(LISTS), 4)["rate"].mean())


def test_interval_contains_the_rate_and_lies_between_zero_and_one() -> None:
    for hit_rate in (0.35, 0.5, 0.65):
        table = _rates(_random_top(30, hit_rate), 10)
        assert (table["low"] <= table["rate"]).all() and (table["rate"] <= table["high"]).all()
        assert (table["low"] >= 0).all() and (table["high"] <= 1).all()
        # The mean of two independent subsets is better known than either.
        widths = table["high"] - table["low"]
        assert widths["mean"] < widths[["a", "b"]].min()


def test_interval_shrinks_with_queries_and_confidence() -> None:
    few, many = (_rates(_random_top(queries, 0.5), 10) for queries in (10, 160))
    widths = [(table["high"] - table["low"])["mean"] for table in (few, many)]
    # Sixteen times the queries make it a quarter as wide.
    assert widths[1] == pytest.approx(widths[0] / 4, rel=0.4)
    narrow = _rates(_random_top(10, 0.5), 10, confidence=0.5)
    assert (narrow["high"] - narrow["low"])["mean"] < widths[0]


def test_interval_has_the_width_of_theory() -> None:
    top = _random_top(100, 0.5)
    table = _rates(top, 10)
    rates = hits_at(top, 10)
    for subset in ("a", "b"):
        spread = rates.loc[rates["query_subset"] == subset, "rate"].std() / 100**0.5
        assert table.loc[subset, "high"] - table.loc[subset, "low"] == pytest.approx(2 * 1.96 * spread, rel=0.15)


def test_lists_without_a_miss_are_not_told_as_certain() -> None:
    table = _rates(_top({(f"q/a/{n}", "a"): ["a"] * 5 for n in range(20)}), 5)
    assert (table["rate"] == 1).all() and (table["high"] == 1).all()
    assert table["low"].to_numpy() == pytest.approx(binomtest(20, 20).proportion_ci(method="wilson").low)


def test_first_hits_have_the_interval_of_wilson() -> None:
    table = _rates(_top(LISTS), 1, confidence=0.9)
    wilson = binomtest(1, 3).proportion_ci(0.9, method="wilson")
    assert table.loc["b", ["low", "high"]].tolist() == pytest.approx([wilson.low, wilson.high])


def test_table_of_several_lists(tmp_path: Path) -> None:
    subsets = ["a"] * 3 + ["b"] * 5 + ["noise"] * 2
    write_samples(pd.DataFrame({"id": [f"s/{n}" for n in range(10)], "subset": subsets}), tmp_path / "train.parquet")
    other = {key: names[::-1] for key, names in LISTS.items()}
    entries = []
    for method, width, backend, lists in (("dmin", "256", "hnsw", LISTS), ("dmin", "full", "exact", other)):
        path = tmp_path / f"{backend}.parquet"
        _top(lists).to_parquet(path)
        entries.append(RankedList(path, method, width, backend))
    config = {"k": [1, 4], "confidence": 0.9}
    evaluate_detection(entries, tmp_path / "train.parquet", config, tmp_path / "detection.csv")
    table = pd.read_csv(tmp_path / "detection.csv")
    assert list(table.columns) == COLUMNS
    assert len(table) == 2 * 2 * 3
    assert table.groupby(["method", "v", "backend"]).size().to_dict() == {
        ("dmin", "256", "hnsw"): 6,
        ("dmin", "full", "exact"): 6,
    }
    # Chance counts the noised copies as samples that can be drawn and never hit.
    chance = table.drop_duplicates("subset").set_index("subset")["chance"]
    assert chance.to_dict() == pytest.approx({"a": 0.3, "b": 0.5, "mean": 0.4})
    deep = table[table["k"] == 4]
    # The whole list is the same set, in whatever order.
    for column in ("rate", "low", "high"):
        assert (
            deep.loc[deep["backend"] == "hnsw", column].tolist()
            == deep.loc[deep["backend"] == "exact", column].tolist()
        )
    first = table[(table["k"] == 1) & (table["subset"] == "b")].set_index("backend")["rate"]
    assert first.to_dict() == pytest.approx({"hnsw": 1 / 3, "exact": 2 / 3})
