"""The ablations of the micro run: made on demand, by their own jobs only."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
import yaml
from checkout import Checkout, micro_config

ABLATION: dict[str, Any] = {
    "hnsw": {"v": 64, "M": [2, 8], "ef_construction": [20], "ef": [10, 60]},
    "compression": {"widths": [16, 256], "storage": ["fp16", "int8"]},
}
MADE = {
    "score_compressed", "evaluate_compression", "plot_compression", "plot_budget", "evaluate_cost_summary",
    "plot_hubness", "build_ablated_index", "search_index", "evaluate_hnsw", "plot_hnsw", "evaluate_timestep_cosines",
    "score_fewer_timesteps", "evaluate_timesteps",
}  # fmt: skip


def config_with(**changes: Any) -> str:
    config = micro_config()
    run = config["runs"]["micro"]
    run["ablation"] = {name: {**table, **changes.get(name, {})} for name, table in ABLATION.items()}
    run["influence"].update(changes.get("influence", {}))
    return yaml.safe_dump(config, sort_keys=False)


@pytest.fixture(scope="module")
def ablated(finished: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """Return a copy of the finished micro run with the ablations made."""
    checkout = Checkout(tmp_path_factory.mktemp("ablated"), finished.root)
    checkout.write_config(config_with())
    plan = checkout.plan("ablations")
    assert set(plan) == MADE | {"ablations"}
    assert plan["build_ablated_index"] == plan["search_index"] == plan["score_compressed"] == 2
    checkout.run("ablations")
    return checkout


def plan_with(ablated: Checkout, **changes: Any) -> dict[str, int]:
    """Return the plan of the ablations under a changed config, and put the config back."""
    try:
        ablated.write_config(config_with(**changes))
        plan = ablated.plan("ablations")
    finally:
        ablated.write_config(config_with())
    return {rule: count for rule, count in plan.items() if rule != "ablations"}


def table(checkout: Checkout, name: str) -> pd.DataFrame:
    return pd.read_csv(checkout.root / "results" / "runs" / "micro" / "tables" / f"{name}.csv", dtype={"v": "string"})


def test_second_run_makes_nothing(ablated: Checkout) -> None:
    assert plan_with(ablated) == {}


def test_a_run_without_the_section_has_no_studies_of_its_own(finished: Checkout) -> None:
    assert set(finished.plan("ablations")) - {"ablations"} == {"plot_hubness", "evaluate_cost_summary"}


def test_added_method_runs_its_own_job_and_the_tables(ablated: Checkout) -> None:
    plan = plan_with(ablated, influence={"methods": ["dmin", "dmin_no_norm", "text", "pixels"]})
    assert plan == {
        "score_samples": 1,
        "evaluate_detection": 1,
        "evaluate_hubness": 1,
        "evaluate_cost_summary": 1,
        "plot_hubness": 1,
        "plot_compression": 1,
        "plot_budget": 1,
    }


def test_added_gradient_method_scores_its_own_compression(ablated: Checkout) -> None:
    plan = plan_with(ablated, influence={"methods": ["dmin", "dmin_no_norm", "text", "grad_cos"]})
    assert plan["score_compressed"] == plan["evaluate_compression"] == plan["plot_budget"] == 1
    assert plan["score_fewer_timesteps"] == plan["evaluate_timesteps"] == 1


def test_added_index_setting_builds_one_index(ablated: Checkout) -> None:
    plan = plan_with(ablated, hnsw={"M": [2, 4, 8]})
    assert plan == {"build_ablated_index": 1, "search_index": 1, "evaluate_hnsw": 1, "plot_hnsw": 1}


def test_other_storage_evaluates_compression_only(ablated: Checkout) -> None:
    plan = plan_with(ablated, compression={"storage": ["fp32", "fp16", "int8"]})
    assert plan == {"score_compressed": 2, "evaluate_compression": 1, "plot_compression": 1, "plot_budget": 1}


def test_indexes_are_gone_and_everything_else_is_there(ablated: Checkout) -> None:
    folder = ablated.root / "results" / "runs" / "micro"
    assert list((folder / "ablation").rglob("*.hnsw")) == []
    for name in ("hubness", "hnsw", "compression", "budget"):
        for suffix in ("svg", "png"):
            assert (folder / "figures" / f"{name}.{suffix}").stat().st_size > 5000
    assert (folder / "tables" / "cost_summary.md").read_text().startswith("# Cost of each method")
    fewer, near = table(ablated, "timesteps_ablation"), table(ablated, "timestep_cosines")
    assert set(fewer["T"]) == {1, 3} and set(fewer["method"]) == {"dmin", "dmin_no_norm"}
    assert (fewer.loc[fewer["T"] == 3, "recall"] == 1).all() and set(near["split"]) == {"train", "queries"}
    # The run's own index is untouched.
    assert len(list((folder / "index").rglob("*.hnsw"))) == 2


def test_hnsw_table_agrees_with_the_exact_lists(ablated: Checkout) -> None:
    frame = table(ablated, "hnsw_ablation")
    assert frame[["M", "ef_construction", "ef"]].drop_duplicates().to_numpy().tolist() == [
        [links, 20, ef] for links in (2, 8) for ef in (10, 60)
    ]
    mean = frame[(frame["M"] == 8) & (frame["ef"] == 60) & (frame["subset"] == "mean")].iloc[0]
    assert mean["recall"] > 0.95
    exact = table(ablated, "detection_rate").query(
        "method == 'dmin' and v == '64' and backend == 'exact' and subset == 'mean'"
    )
    assert mean["rate"] == pytest.approx(exact["rate"].mean(), abs=0.05)


def test_compression_table_agrees_with_the_detection_table(ablated: Checkout) -> None:
    frame = table(ablated, "compression_ablation")
    assert {*zip(frame["v"], frame["storage"], strict=True)} == {
        (v, storage) for v in ("16", "256") for storage in ("fp16", "int8")
    }
    assert set(frame["reference"]) == {"uncompressed"}
    assert set(frame["method"]) == {"dmin", "dmin_no_norm"} and frame["lds"].isna().all()
    frame = frame[frame["method"] == "dmin"]
    ours = frame[(frame["v"] == "256") & (frame["storage"] == "fp16")].set_index("k")
    theirs = table(ablated, "detection_rate").query(
        "method == 'dmin' and v == '256' and backend == 'exact' and subset == 'mean'"
    )
    for column in ("rate", "low", "high"):
        assert ours[column].to_dict() == pytest.approx(theirs.set_index("k")[column].to_dict())
