"""Rank agreement equals scipy's, orders nothing where a method does not, and refuses matrices of other samples."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from dmin.evaluation.agreement import evaluate_agreement, rank_correlations, top_overlaps
from dmin.evaluation.seed_agreement import evaluate_seed_agreement
from dmin.runtime.errors import UserError

CONFIDENCE = 0.95


def write_matrix(folder: Path, values: np.ndarray, train: list[str] | None = None) -> Path:
    folder.mkdir()
    np.save(folder / "scores.npy", values.astype(np.float32))
    ids = {
        "queries": [f"q/{number}" for number in range(len(values))],
        "train": train or [f"a/{number}" for number in range(values.shape[1])],
    }
    (folder / "scores.json").write_text(json.dumps(ids))
    return folder / "scores.npy"


def agreement(tmp_path: Path, matrices: dict[str, np.ndarray], k: int = 5) -> pd.DataFrame:
    paths = {name: write_matrix(tmp_path / name, values) for name, values in matrices.items()}
    evaluate_agreement(paths, k, CONFIDENCE, tmp_path / "table.csv")
    return pd.read_csv(tmp_path / "table.csv").set_index(["method", "other"])


def test_correlations_equal_scipy_with_ties() -> None:
    scores = np.random.default_rng(0).integers(0, 6, (4, 40)).astype(np.float32)
    expected = spearmanr(scores.T).statistic
    np.testing.assert_allclose(rank_correlations(scores), expected, atol=1e-12)


def test_overlap_counts_common_samples() -> None:
    scores = np.array([[4, 3, 2, 1, 0], [0, 3, 4, 1, 2]], dtype=np.float32)
    np.testing.assert_allclose(top_overlaps(scores, 2), [[1, 0.5], [0.5, 1]])


def test_equal_opposite_and_unrelated_methods(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    values, other = generator.normal(size=(2, 30, 300))
    table = agreement(tmp_path, {"a": values, "scaled": 3 * values + 1, "opposite": -values, "unrelated": other})
    assert table.loc[("a", "scaled"), "spearman"] == pytest.approx(1) and table.loc[("a", "scaled"), "overlap"] == 1
    assert table.loc[("a", "opposite"), "spearman"] == pytest.approx(-1)
    row = table.loc[("a", "unrelated")]
    assert row["low"] < 0.05 and row["high"] > -0.05 and abs(row["spearman"]) < 4 / np.sqrt(300 * 30)
    assert (table["queries"] == 30).all()


def test_a_method_without_an_order_agrees_with_none(tmp_path: Path) -> None:
    values = np.random.default_rng(2).normal(size=(6, 20))
    flat = values.copy()
    flat[:2] = 0
    other = np.vstack([np.zeros((2, 20)), -values[2:]])
    table = agreement(tmp_path, {"a": values, "partly": flat, "other": other, "never": np.zeros_like(values)})
    assert table.loc[("a", "partly"), "queries"] == 4 and table.loc[("a", "partly"), "spearman"] == pytest.approx(1)
    assert table.loc[("a", "never"), "queries"] == 0 and np.isnan(table.loc[("a", "never"), "spearman"])
    # The first rows of the file are the top of both where neither orders anything.
    assert table.loc[("partly", "other"), "overlap"] == 0 and table.loc[("a", "partly"), "overlap"] == 1
    assert table.loc[("never", "never"), "queries"] == 0 and np.isnan(table.loc[("never", "never"), "overlap"])


def test_seeds_are_compared_where_both_order_something(tmp_path: Path) -> None:
    values = np.random.default_rng(4).normal(size=(6, 20))
    first, second = values.copy(), -values
    first[:3], second[:3] = 0, 0
    files = {"r": write_matrix(tmp_path / "r", first), "seed1": write_matrix(tmp_path / "seed1", second)}
    flat = {"r": write_matrix(tmp_path / "f", 0 * first), "seed1": write_matrix(tmp_path / "g", 0 * first)}
    evaluate_seed_agreement({("dmin", "64"): files, ("pixel", ""): flat}, [5], CONFIDENCE, tmp_path / "seeds.csv")
    table = pd.read_csv(tmp_path / "seeds.csv").set_index("method")
    assert table.loc["dmin", ["spearman", "overlap", "queries"]].tolist() == pytest.approx([-1, 0, 3])
    assert np.isnan(table.loc["pixel", "overlap"]) and table.loc["pixel", "queries"] == 0


def test_other_samples_are_refused(tmp_path: Path) -> None:
    values = np.random.default_rng(3).normal(size=(2, 3))
    paths = {
        "a": write_matrix(tmp_path / "a", values),
        "b": write_matrix(tmp_path / "b", values, ["a/0", "a/2", "a/1"]),
    }
    with pytest.raises(UserError, match=r"name other train; delete both and run again\.$"):
        evaluate_agreement(paths, 2, CONFIDENCE, tmp_path / "table.csv")
    with pytest.raises(UserError, match=r"needs 4 training samples, but there are 3; lower k\.$"):
        evaluate_agreement({"a": paths["a"]}, 4, CONFIDENCE, tmp_path / "table.csv")
