"""The bank of retrained models on the micro run: made on demand, and rerun by parts."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
import yaml
from checkout import PROJECT, Checkout, micro_config
from config_tables import load

BANK: dict[str, Any] = {"model": "micro", "subsets": 8, "fraction": 0.5, "seeds": 2, "per_job": 8}
DELETION = {"methods": ["dmin"], "queries": 2, "shares": [0.05, 0.1], "timesteps": 2, "draws": 1, "per_job": 8}
MODEL = micro_config()["models"]["micro"]
TABLE = "results/runs/micro/tables/lds.csv"


def config_with(bank: dict[str, Any] | None = None, **influence: Any) -> str:
    config = micro_config()
    config["banks"] = {"small": BANK | (bank or {})}
    config["runs"]["micro"]["lds"] = {"bank": "small", "timesteps": 2, "bootstrap": 100}
    config["runs"]["micro"]["deletion"] = DELETION
    config["runs"]["micro"]["influence"] |= influence
    return yaml.safe_dump(config, sort_keys=False)


@pytest.fixture(scope="module")
def judged(finished: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """Return a copy of the finished micro run with its bank and its LDS."""
    checkout = Checkout(tmp_path_factory.mktemp("judged"), finished.root)
    checkout.write_config(config_with())
    plan = checkout.plan("lds")
    assert plan == {
        "draw_sets": 2, "retrain_subsets": 2, "measure_losses": 2, "evaluate_lds": 1, "evaluate_lds_bands": 1,
        "plot_lds_bands": 1, "pool_lds": 1, "plot_yardsticks": 1, "lds": 1,
    }  # fmt: skip
    checkout.run("lds")
    return checkout


def test_cifar2_is_as_large_as_published() -> None:
    tables = load(yaml.safe_load((PROJECT / "config" / "cifar2.yaml").read_text()))
    config = tables.config
    runs, bank, train = config["runs"], config["banks"]["cifar2"], config["models"]["cifar2"]["train"]
    assert {run.gradients.count("train") for run in tables.runs.values()} == {5000}
    assert round(train["steps"] * train["batch_size"] / 5000) == 200
    assert bank["subsets"] == 64 and bank["seeds"] == 3 and bank["fraction"] == 0.5
    assert len(tables.banks["cifar2"].ranges) == 32
    assert {run["lds"]["timesteps"] for run in runs.values()} == {1000}
    assert {run["queries"]["source"] for run in runs.values()} == {"generated", "held_out"}


def test_small_cifar2_has_the_training_of_the_large_one_and_enough_sets() -> None:
    small, large = (
        load(yaml.safe_load((PROJECT / "config" / name).read_text())) for name in ("cifar2_small.yaml", "cifar2.yaml")
    )
    assert [source["labels"] for source in small.config["datasets"]["cifar2"]["sources"]] == [["automobile"], ["horse"]]
    assert small.config["models"]["cifar2"]["train"]["flip"] and large.config["models"]["cifar2"]["train"]["flip"]
    assert small.runs["held_out"].gradients.count("train") == 490
    bank = small.config["banks"]["cifar2"]
    assert (bank["subsets"], bank["seeds"], bank["fraction"]) == (32, 2, 0.5)


def plan_with(judged: Checkout, bank: dict[str, Any] | None = None, **influence: Any) -> dict[str, int]:
    try:
        judged.write_config(config_with(bank, **influence))
        plan = judged.plan("lds")
    finally:
        judged.write_config(config_with())
    after = ("lds", "plot_yardsticks", "evaluate_lds_bands", "plot_lds_bands", "pool_lds")
    return {rule: count for rule, count in plan.items() if rule not in after}


def test_every_method_and_width_is_judged(judged: Checkout) -> None:
    table = pd.read_csv(judged.root / TABLE, dtype={"v": "string"}, keep_default_na=False)
    methods = [("dmin", v) for v in ("64", "256", "full")] + [("dmin_no_norm", v) for v in ("64", "256", "full")]
    assert list(zip(table["method"], table["v"], strict=True)) == [*methods, ("text", "")]
    assert set(table["subsets"]) == {8} and set(table["seeds"]) == {2} and set(table["queries"]) == {12}
    assert table["lds"].between(-1, 1).all() and set(table["query_set"]) == {"generated"}
    bands = pd.read_csv(judged.root / "results/runs/micro/tables/lds_bands.csv", dtype={"v": "string"})
    assert set(zip(bands["low_timestep"], bands["high_timestep"], strict=True)) == {(0, 0), (500, 500)}
    assert set(bands["bank"]) == {"small"} and len(bands) == 2 * len(table)
    assert (judged.root / "results/banks/pooled_lds.csv").exists()
    assert (judged.root / "results/runs/micro/figures/yardsticks.png").stat().st_size > 1000
    assert plan_with(judged) == {}


def test_another_method_adds_its_own_jobs_only(judged: Checkout) -> None:
    plan = plan_with(judged, methods=["dmin", "dmin_no_norm", "text", "random"])
    assert plan == {"score_samples": 1, "evaluate_detection": 1, "evaluate_lds": 1}


def test_kernel_method_brings_its_choice_of_lambda(judged: Checkout) -> None:
    plan = plan_with(judged, methods=["dmin", "dmin_no_norm", "text", "trak"], widths=[256], uncompressed=False)
    assert plan["sweep_lds_lambda"] == plan["evaluate_lds_lambda"] == plan["score"] == 1
    assert "retrain_subsets" not in plan and "measure_losses" not in plan


def test_more_sets_keep_the_trained_ones(judged: Checkout) -> None:
    plan = plan_with(judged, {"subsets": 12})
    assert plan == {"draw_sets": 1, "retrain_subsets": 1, "measure_losses": 1, "evaluate_lds": 1}


def test_other_sets_are_trained_afresh(judged: Checkout) -> None:
    plan = plan_with(judged, {"fraction": 0.4})
    assert plan == {"draw_sets": 2, "retrain_subsets": 2, "measure_losses": 2, "evaluate_lds": 1}


def test_set_left_out_touches_its_own_range(judged: Checkout) -> None:
    plan = plan_with(judged, {"subsets": 12, "exclude": [11]})
    assert plan["retrain_subsets"] == 1


def test_deletion_stands_beside_the_lds(judged: Checkout) -> None:
    assert judged.plan("deletion") == {
        "choose_removals": 3, "retrain_without": 3, "measure_losses_without": 3, "evaluate_top_deletion": 1,
        "plot_lds_deletion": 1, "deletion": 1,
    }  # fmt: skip
    judged.run("deletion")
    table = pd.read_csv(judged.root / "results/runs/micro/tables/deletion.csv")
    assert list(zip(table["method"], table["k"], strict=True)) == [
        ("random", 3), ("random", 6), ("dmin", 3), ("dmin", 6),
    ]  # fmt: skip
    assert table.loc[table["method"] == "dmin", "queries"].tolist() == [2, 2] and set(table["seeds"]) == {2}
    assert table["difference"].notna().all() and table.loc[2:, "over_random"].notna().all()
    assert (judged.root / "results/runs/micro/figures/lds_deletion.png").stat().st_size > 1000
    assert judged.plan("deletion") == {}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"banks": {}}, "runs.micro.lds.bank is 'small', which banks does not define"),
        (
            {"banks": {"small": {"model": "other"}}, "models": dict.fromkeys(("micro", "other"), MODEL)},
            "runs.micro.lds.bank is 'small', a bank of model other",
        ),
        ({"banks": {"small": {**BANK, "subsets": 4}}}, "banks.small.subsets"),
        ({"banks": {"small": {**BANK, "exclude": [3]}}}, "banks.small.exclude leaves 7 of 8 sets"),
    ],
)
def test_mistake_is_told_in_one_sentence(judged: Checkout, changes: dict[str, Any], sentence: str) -> None:
    try:
        judged.write_config(yaml.safe_dump(yaml.safe_load(config_with()) | changes, sort_keys=False))
        refused = judged.snakemake("--dry-run", "lds")
    finally:
        judged.write_config(config_with())
    assert refused.returncode != 0
    assert sentence in refused.stdout + refused.stderr
