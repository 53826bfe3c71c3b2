"""Hub measures of fabricated ranked lists."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dmin.attribution.ranking import rank_top
from dmin.data.samples import write_samples
from dmin.evaluation.detection import RankedList
from dmin.evaluation.hubness import MEASURES, evaluate_hubness, hub_measures, hubness_rows, resample_weights
from dmin.runtime.errors import UserError

QUERIES, TRAIN, K = 80, 300, 5
CONFIG = {"k": [K, 10], "bootstrap": 400, "confidence": 0.95, "seed": 1}


def ranked(scores: np.ndarray) -> pd.DataFrame:
    queries = [f"q/{number:03d}" for number in range(len(scores))]
    train = [f"t/{number}" for number in range(scores.shape[1])]
    subsets = {name: "ab"[int(name[2:]) % 2] for name in [*queries, *train]}
    return rank_top(scores, queries, train, subsets, 10)


def spread(hub: float, seed: int = 0) -> pd.DataFrame:
    """Random lists in which the first five samples get a head start of ``hub`` standard deviations."""
    scores = np.random.default_rng(seed).standard_normal((QUERIES, TRAIN))
    scores[:, :5] += hub
    return ranked(scores)


def values(top: pd.DataFrame, k: int = K) -> dict[str, float]:
    weights = resample_weights(["a"] * (QUERIES // 2) + ["b"] * (QUERIES // 2), 200, 0)
    return {row["measure"]: row["value"] for row in hubness_rows(top, [k], TRAIN, weights, 0.95)}


def gini(counts: np.ndarray) -> float:
    """The definition: the mean absolute difference over twice the mean."""
    return np.abs(counts[:, None] - counts[None]).mean() / (2 * counts.mean())


def test_measures_by_hand() -> None:
    # Ten queries with lists of two: sample 0 in all, 1 in four, 2 to 7 in one each, two more in none.
    counts = np.array([[10, 4, 1, 1, 1, 1, 1, 1]])
    unique, hubs, largest, coefficient = hub_measures(counts, 10, 10, 2)[0]
    assert unique == pytest.approx(8 / 20)
    # 10 % of ten queries is one query.
    assert hubs == 8
    assert largest == 10
    assert coefficient == pytest.approx(gini(np.array([10, 4, 1, 1, 1, 1, 1, 1, 0, 0])))


def test_one_list_for_all_is_the_extreme() -> None:
    counts = np.full((1, K), QUERIES)
    unique, hubs, largest, coefficient = hub_measures(counts, QUERIES, TRAIN, K)[0]
    assert (unique, hubs, largest) == (1 / QUERIES, K, QUERIES)
    assert coefficient == pytest.approx(1 - K / TRAIN)


def test_lists_that_share_nothing_are_the_other() -> None:
    counts = np.ones((1, QUERIES * K), dtype=int)
    unique, hubs, largest, coefficient = hub_measures(counts, QUERIES, QUERIES * K, K)[0]
    assert (unique, hubs, largest) == (1, 0, 1)
    assert coefficient == pytest.approx(0)


def test_hubs_show_in_every_measure() -> None:
    even, uneven = values(spread(0)), values(spread(4))
    assert uneven["unique_ratio"] < even["unique_ratio"]
    assert even["hubs"] <= 1 and uneven["hubs"] == 5
    assert uneven["max_count"] > 2 * even["max_count"]
    assert uneven["gini"] > even["gini"]
    # Random lists: the expected union of M draws of k out of N.
    assert even["unique_ratio"] * QUERIES * K == pytest.approx(TRAIN * (1 - (1 - K / TRAIN) ** QUERIES), rel=0.08)


def test_resamples_stay_within_subsets() -> None:
    weights = resample_weights(["a", "a", "a", "b", "b"], 50, 3)
    assert (weights[:, :3].sum(axis=1) == 3).all() and (weights[:, 3:].sum(axis=1) == 2).all()
    assert np.array_equal(weights, resample_weights(["a", "a", "a", "b", "b"], 50, 3))
    assert not np.array_equal(weights, resample_weights(["a", "a", "a", "b", "b"], 50, 4))


def test_interval_covers_other_queries_of_the_same_kind() -> None:
    weights = resample_weights(["a"] * (QUERIES // 2) + ["b"] * (QUERIES // 2), 400, 0)
    truth = {name: np.mean([values(spread(1.0, seed))[name] for seed in range(100, 130)]) for name in MEASURES}
    covered = dict.fromkeys(("unique_ratio", "gini", "hubs"), 0)
    for seed in range(30):
        for row in hubness_rows(spread(1.0, seed), [K], TRAIN, weights, 0.95):
            assert row["low"] <= row["value"] <= row["high"]
            if row["measure"] in covered:
                covered[row["measure"]] += row["low"] <= truth[row["measure"]] <= row["high"]
    assert min(covered.values()) >= 24


def test_table_has_a_row_per_list_k_and_measure(tmp_path: Path) -> None:
    folder = tmp_path / "influence"
    paths = [folder / "dmin" / "v64" / "exact" / "top.parquet", folder / "random" / "top.parquet"]
    for path, hub in zip(paths, (0, 4), strict=True):
        path.parent.mkdir(parents=True)
        # Rows may come in any order.
        spread(hub).sample(frac=1, random_state=0).to_parquet(path)
    ids = [f"t/{number}" for number in range(TRAIN)]
    write_samples(pd.DataFrame({"id": ids, "subset": ["a"] * TRAIN}), tmp_path / "train.parquet")
    evaluate_hubness([RankedList.at(path) for path in paths], tmp_path / "train.parquet", CONFIG, tmp_path / "out.csv")
    table = pd.read_csv(tmp_path / "out.csv", dtype={"v": "string"})
    assert list(table.columns) == ["method", "v", "k", "measure", "value", "low", "high", "queries", "train"]
    assert len(table) == 2 * 2 * len(MEASURES)
    assert set(table["queries"]) == {QUERIES} and set(table["train"]) == {TRAIN}
    hubs = table[(table["measure"] == "hubs") & (table["k"] == K)].set_index("method")["value"]
    assert hubs["random"] == values(spread(4))["hubs"] and hubs["dmin"] == values(spread(0))["hubs"]
    assert table.loc[table["method"] == "random", "v"].isna().all()


def test_list_shorter_than_k_is_refused() -> None:
    with pytest.raises(UserError, match="hold 10 samples, fewer than k=11; raise top_k"):
        values(spread(0), 11)
