"""The linear datamodeling score, on a model whose retraining has a closed form, and what it refuses."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fabricated import CACHE_DIM, compress_shards, write_gradients
from retrained_bank import CONFIG, loss_table, write_bank
from schema_defaults import options, options_of

from dmin.attribution.gradient_files import GradientFiles, GradientSides
from dmin.attribution.gradient_rows import GradientRows
from dmin.attribution.methods.trak import mean_problem
from dmin.evaluation.lds import JudgingBank, evaluate_lds, predict_sets, top_scores
from dmin.evaluation.lds_lambda import choose_lambda, halve_sets, sweep_lds
from dmin.evaluation.ranks import average_ranks, rank_rows, spearman_rows
from dmin.evaluation.retrained import Retrained, noise_ceiling
from dmin.retraining.sets import draw_sets, read_sets
from dmin.runtime.errors import UserError


@pytest.fixture
def bank(tmp_path: Path) -> dict[str, Any]:
    """Return an exactly retrained bank on disk, with the true influence, its negative and random scores."""
    return write_bank(tmp_path)


def test_influence_of_a_linear_model_foretells_its_retraining(bank: dict[str, Any]) -> None:
    evaluate_lds(**bank)
    table = pd.read_csv(bank["out"].table).set_index("method")
    assert table.loc["true", "lds"] > 0.95
    assert table.loc["opposite", "lds"] == pytest.approx(-table.loc["true", "lds"])
    assert abs(table.loc["random", "lds"]) < 0.15
    assert (table["low"] <= table["lds"]).all() and (table["lds"] <= table["high"]).all()
    assert table.loc["random", "high"] < table.loc["true", "low"]
    assert set(table["queries"]) == {12} and set(table["subsets"]) == {48} and set(table["seeds"]) == {1}
    assert table["ceiling"].isna().all() and table["hardware"].str.contains("core").all()


def test_difference_to_dmin_is_paired(bank: dict[str, Any]) -> None:
    found = bank["scores"]
    evaluate_lds(**bank)
    assert pd.read_csv(bank["out"].table)["over_dmin"].isna().all()
    bank["scores"] = {("dmin", "8"): found["random", "8"], ("dmin", "16"): found["opposite", "8"], **found}
    evaluate_lds(**bank)
    table = pd.read_csv(bank["out"].table).set_index(["method", "v"])
    same, better = table.loc[("random", 8)], table.loc[("true", 8)]
    assert same["over_dmin"] == same["over_dmin_low"] == same["over_dmin_high"] == 0
    assert better["over_dmin"] == pytest.approx(better["lds"] - same["lds"])
    assert 0 < better["over_dmin_low"] < better["over_dmin"] < better["over_dmin_high"]
    bank["scores"] = {("dmin", "16"): found["opposite", "8"], ("dmin", "8"): found["random", "8"], **{
        (name, ""): path for (name, _), path in found.items()
    }}  # fmt: skip
    evaluate_lds(**bank)
    unsized = pd.read_csv(bank["out"].table).set_index("method").loc["opposite"]
    assert unsized["over_dmin"] == 0, "a method without a width is compared with the widest"


@pytest.mark.parametrize("types", [None, "str"])
def test_a_range_all_of_whose_sets_are_left_out_changes_nothing(bank: dict[str, Any], types: str | None) -> None:
    evaluate_lds(**bank)
    first = bank["out"].table.read_bytes()
    columns = pd.read_parquet(bank["bank"].losses[0]).columns
    nothing = bank["out"].table.with_name("losses-nothing.parquet")
    pd.DataFrame(columns=columns, dtype=types).to_parquet(nothing, index=False)
    bank["bank"] = replace(bank["bank"], losses=[nothing, *bank["bank"].losses])
    evaluate_lds(**bank)
    assert bank["out"].table.read_bytes() == first
    bank["bank"] = replace(bank["bank"], losses=[nothing])
    with pytest.raises(UserError, match=r"^0 retrained sets are too few"):
        evaluate_lds(**bank)


def test_table_is_the_same_each_time(bank: dict[str, Any]) -> None:
    evaluate_lds(**bank)
    first = bank["out"].table.read_bytes()
    evaluate_lds(**bank)
    assert bank["out"].table.read_bytes() == first


def test_missing_retraining_is_named(bank: dict[str, Any]) -> None:
    part = pd.read_parquet(bank["bank"].losses[0])
    part.iloc[1:].to_parquet(bank["bank"].losses[0])
    with pytest.raises(UserError, match="losses of a retraining are missing"):
        evaluate_lds(**bank)


def test_too_few_sets_are_refused(bank: dict[str, Any]) -> None:
    part = pd.read_parquet(bank["bank"].losses[0])
    part[part["set"] < 14].to_parquet(bank["bank"].losses[0])
    with pytest.raises(UserError, match=r"7 retrained sets are too few .* at least 8"):
        evaluate_lds(**{**bank, "bank": replace(bank["bank"], losses=bank["bank"].losses[:1])})


def test_unscored_query_is_refused(bank: dict[str, Any]) -> None:
    path = bank["scores"]["true", "8"]
    facts = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps({**facts, "queries": ["else"] * 12}))
    with pytest.raises(UserError, match=r"has no scores of query 'query/00'"):
        evaluate_lds(**bank)


def test_set_of_other_samples_is_refused(bank: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="which was not scored"):
        read_sets(bank["bank"].sets, ["train/0"])


def test_ranks_correlate_as_scipy_says() -> None:
    from scipy.stats import spearmanr

    generator = np.random.default_rng(2)
    left, right = generator.integers(0, 5, (4, 30)), generator.standard_normal((4, 30))
    wanted = [spearmanr(a, b).statistic for a, b in zip(left, right, strict=True)]
    np.testing.assert_allclose(spearman_rows(left, right), wanted, atol=1e-12)
    np.testing.assert_array_equal(rank_rows(np.ones((1, 3))), 0)


@pytest.mark.parametrize("shape", [(4, 30), (7,), (2, 3, 1), (2, 0)])
def test_ranks_are_scipys(shape: tuple[int, ...]) -> None:
    from scipy.stats import rankdata

    generator = np.random.default_rng(3)
    for values in (generator.standard_normal(shape), generator.integers(0, 3, shape)):
        np.testing.assert_array_equal(average_ranks(values), rankdata(values, axis=-1))
    assert np.isnan(average_ranks(np.array([[1.0, np.nan], [2, 1]]))).tolist() == [[True, True], [False, False]]


def test_prediction_is_the_sum_over_members() -> None:
    scores, member = np.arange(6, dtype=np.float32).reshape(2, 3), np.array([[True, False, True], [False, True, True]])
    np.testing.assert_array_equal(predict_sets(scores, member), [[2, 3], [8, 9]])


class Sweep:
    """Fabricated gradients, and a bank whose losses are what TRAK foretells at one lambda, on each half of the sets."""

    def __init__(self, folder: Path) -> None:
        self.folder, generator = folder, np.random.default_rng(0)
        self.shards, self.rows = {}, {}
        for split, count in (("train", 60), ("queries", 6)):
            gradients = generator.standard_normal((count, 3, 40)) * np.geomspace(1, 30, 40)
            ids = [f"{split}/{number}" for number in range(count)]
            self.shards[split] = write_gradients(folder / f"{split}.safetensors", ids, gradients)
            compress_shards([self.shards[split]], CACHE_DIM, folder / f"{split}.npy")
            self.rows[split] = GradientRows([self.shards[split]], folder / f"{split}.npy")
        self.member = draw_sets(["a"] * 60, 24, 0.5, seed=3)
        sets, rows = np.nonzero(self.member)
        pd.DataFrame({"set": sets, "id": [f"train/{row}" for row in rows]}).to_parquet(folder / "sets.parquet")

    def sweep(self, choosing: float, judging: float) -> pd.DataFrame:
        problem = mean_problem(self.rows["queries"], self.rows["train"])
        first = halve_sets(24, options()["seed"])
        foretold = {value: predict_sets(problem.solve(value), self.member) for value in {choosing, judging}}
        losses = -np.where(first, foretold[choosing], foretold[judging])
        table = loss_table(
            (number, 0, f"queries/{query}", losses[query, number]) for query, number in np.ndindex(losses.shape)
        )
        table.to_parquet(self.folder / "losses.parquet")
        sides = GradientSides(
            *(GradientFiles([self.shards[side]], self.folder / f"{side}.npy") for side in ("queries", "train"))
        )
        bank = JudgingBank([self.folder / "losses.parquet"], [self.folder / "sets.parquet"], CONFIG)
        sweep_lds("trak", sides, bank, options_of("trak", "lambda_grid", "seed"), self.folder / "lambda.csv")
        return pd.read_csv(self.folder / "lambda.csv").set_index("choice")


def test_only_the_oracle_sees_the_sets_that_judge(tmp_path: Path) -> None:
    grid = sorted(options()["lambda_grid"])
    low, high = grid[0], grid[-1]
    run = Sweep(tmp_path)
    for choosing, judging in ((low, high), (high, low)):
        found = run.sweep(choosing, judging)
        assert found.loc["held_out", "relative_lambda"] == choosing
        assert found.loc["oracle", "relative_lambda"] == judging
        assert found.loc["oracle", "lds"] == pytest.approx(1)
        assert found.loc["held_out", "lds"] < found.loc["oracle", "lds"]
        assert (found["low"] <= found["lds"]).all() and (found["lds"] <= found["high"] + 1e-9).all()
        assert set(found["subsets"]) == {12} and set(found["seeds"]) == {1} and found["hardware"].notna().all()


def test_ceiling_is_one_where_seeds_agree_and_rises_with_seeds() -> None:
    signal = np.random.default_rng(0).standard_normal((40, 1, 6))
    assert noise_ceiling(np.repeat(signal, 3, axis=1)) == pytest.approx((1, 1))
    noise = np.random.default_rng(1).standard_normal((40, 8, 6))
    two, eight = noise_ceiling((signal + noise)[:, :2]), noise_ceiling(signal + noise)
    assert 0.3 < eight[0] < 0.7 and two[1] < eight[1] < 1
    assert all(np.isnan(value) for value in noise_ceiling(signal))


def test_target_is_minus_the_mean_loss() -> None:
    found = Retrained(["q"], [0, 1], np.array([[[1.0], [3.0]], [[0.0], [0.0]]]))
    np.testing.assert_array_equal(found.target, [[-2.0, 0.0]])


def test_sets_take_their_share_of_every_stratum() -> None:
    strata = ["a"] * 10 + ["b"] * 5
    member = draw_sets(strata, 16, 0.5, seed=7)
    assert member.shape == (16, 15)
    assert (member[:, :10].sum(1) == 5).all() and (member[:, 10:].sum(1) == 2).all()
    np.testing.assert_array_equal(draw_sets(strata, 9, 0.5, seed=7), member[:9])
    assert (draw_sets(strata, 16, 0.5, seed=8) != member).any()


@pytest.mark.parametrize(
    ("strata", "count", "sentence"),
    [
        (["a"] * 10 + ["b"], 8, "Subset 'b' has 1 training samples, of which fraction 0.5 leaves 0"),
        (["a"] * 4, 8, "Of 8 random sets of 4 samples two are equal"),
    ],
)
def test_sets_that_judge_nothing_are_refused(strata: list[str], count: int, sentence: str) -> None:
    with pytest.raises(UserError, match=re.escape(sentence)):
        draw_sets(strata, count, 0.5, seed=0)


def test_lambda_is_chosen_on_other_sets_than_it_is_judged_by() -> None:
    chosen = choose_lambda({0.1: (0.5, 0.2), 1.0: (0.4, 0.9), 2.0: (0.1, 0.3)}, 2.0)
    assert chosen == {"default": 2.0, "held_out": 0.1, "oracle": 1.0}
    first = halve_sets(9, seed=1)
    assert first.sum() == 4
    with pytest.raises(UserError, match="take at least 6"):
        halve_sets(5, seed=1)


def test_read_outs_of_the_same_scores(bank: dict[str, Any]) -> None:
    evaluate_lds(**bank)
    table = pd.read_csv(bank["out"].table).set_index("method")
    # A square forgets the sign, in which all of the influence lies here.
    assert table.loc["true", "lds_squared"] == pytest.approx(table.loc["opposite", "lds_squared"])
    assert 0.2 < table.loc["true", "lds_top"] < table.loc["true", "lds"]
    scores = np.array([[3.0, -5.0, 1.0, 2.0] + [0.5] * 36, np.arange(40.0)])
    kept = top_scores(scores)
    assert sorted(kept[0][kept[0] != 0]) == [2, 3] and sorted(kept[1][kept[1] != 0]) == [38, 39]


def test_mean_over_queries_is_the_lds(bank: dict[str, Any]) -> None:
    evaluate_lds(**bank)
    whole = pd.read_csv(bank["out"].table).set_index("method")["lds"]
    each = pd.read_csv(bank["out"].queries)
    assert each.groupby("method")["lds"].mean()[whole.index].tolist() == pytest.approx(whole.tolist())
    assert (each.groupby("method")["query_id"].nunique() == 12).all() and each["ceiling"].isna().all()
