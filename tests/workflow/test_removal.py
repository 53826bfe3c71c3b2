"""Counterfactual removal on the micro run, made on demand and rerun by parts, and the mistakes of both studies."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from checkout import PROJECT, Change, Checkout, micro_config
from config_tables import load

REMOVAL: dict[str, Any] = {"methods": ["dmin"], "queries": 2, "k": 4, "draws": 1, "seeds": 2, "per_job": 4}
RUN = "results/runs/micro"


def config_with(**removal: Any) -> str:
    config = micro_config()
    config["runs"]["micro"]["removal"] = REMOVAL | removal
    return yaml.safe_dump(config, sort_keys=False)


@pytest.fixture(scope="module")
def removed(finished: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """Return a copy of the finished micro run with its removals."""
    checkout = Checkout(tmp_path_factory.mktemp("removed"), finished.root)
    checkout.write_config(config_with())
    plan = checkout.plan("removal")
    assert plan == {
        "choose_removals": 3, "retrain_without": 3, "regenerate": 3, "evaluate_removal": 1, "plot_removal": 1,
        "plot_removal_images": 1, "removal": 1,
    }  # fmt: skip
    checkout.run("removal")
    return checkout


def plan_with(removed: Checkout, **removal: Any) -> dict[str, int]:
    try:
        removed.write_config(config_with(**removal))
        plan = removed.plan("removal")
    finally:
        removed.write_config(config_with())
    after = ("removal", "plot_removal", "plot_removal_images", "evaluate_removal")
    return {rule: count for rule, count in plan.items() if rule not in after}


def test_every_removal_is_compared(removed: Checkout) -> None:
    table = pd.read_csv(removed.root / RUN / "tables" / "removal_summary.csv")
    assert set(table["method"]) == {"none", "random", "dmin"} and (table["queries"] == 2).all()
    assert set(table.loc[table["method"] == "dmin", "v"].astype(int)) == {256}
    for name in ("removal", "removal_images"):
        assert (removed.root / RUN / "figures" / f"{name}.png").stat().st_size > 1000
    assert plan_with(removed) == {}


def test_another_method_adds_its_own_jobs_only(removed: Checkout) -> None:
    jobs = {"choose_removals": 1, "retrain_without": 1, "regenerate": 1}
    assert plan_with(removed, methods=["dmin", "text"]) == jobs


def test_another_draw_leaves_methods_alone(removed: Checkout) -> None:
    plan = plan_with(removed, draws=2)
    assert plan["retrain_without"] == 1


def run_with(checkout: Checkout, change: Change) -> set[str]:
    """Run what a changed config asks for, and return the rules that ran."""
    config = yaml.safe_load(config_with())
    change(config["runs"]["micro"])
    checkout.write_config(yaml.safe_dump(config, sort_keys=False))
    told = checkout.run(f"{RUN}/tables/removal_summary.csv")
    return set(re.findall(r"^(?:local)?(?:rule|checkpoint) (\w+):$", told.stdout + told.stderr, re.MULTILINE))


def test_lists_train_nothing_again_and_hide_nothing_that_does(removed: Checkout, tmp_path: Path) -> None:
    checkout = Checkout(tmp_path / "lists", removed.root)

    def trained() -> list[int]:
        return [path.stat().st_mtime_ns for path in sorted((checkout.root / RUN).glob("removal/dmin/models/*/*/*"))]

    def lists(run: dict[str, Any]) -> None:
        run["influence"] |= {"top_k": 12, "significance": {"fdr": 0.3}, "options": {"lissa_damping": 0.5}}

    before = trained()
    assert run_with(checkout, lists) == {"score", "choose_removals", "evaluate_removal"}
    assert trained() == before != []

    def both(run: dict[str, Any]) -> None:
        lists(run)
        run["influence"]["significance"]["fdr"] = 0.2
        run["removal"]["k"] = 5

    assert {"score", "choose_removals", "retrain_without", "regenerate"} <= run_with(checkout, both)
    assert not set(trained()) & set(before)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"k": 60}, "runs.micro.removal.k is 60, but the training set has 60 samples"),
        ({"methods": ["ssim"]}, "runs.micro.removal.methods has ssim, which runs.micro.influence.methods lacks"),
        ({"methods": ["random"]}, "removal.methods has random, which is always there as a control"),
        ({"queries": 13}, "runs.micro.removal.queries is 13, but the run has 12 queries"),
        ({"exclude": ["none/0"]}, "removal.exclude has none/0, which everything is compared with"),
        ({"exclude": ["dmin/2"]}, "removal.exclude has dmin/2, which the study does not have"),
        ({"exclude": ["random/0"]}, "removal.exclude leaves no removal of random"),
        ({"exclude": ["dmin"]}, "runs.micro.removal.exclude.0"),
    ],
)
def test_mistake_in_a_removal_is_told(changes: dict[str, Any], sentence: str, project: None) -> None:
    with pytest.raises(SystemExit, match=sentence.replace(".", r"\.")):
        load(yaml.safe_load(config_with(**changes)))


@pytest.fixture
def project(tmp_path: Path, micro_files: None) -> None:
    """Make the files that the configs name exist."""
    (tmp_path / "resources").symlink_to(PROJECT / "resources")


def test_images_without_noise_cannot_be_generated_again(project: None) -> None:
    config = yaml.safe_load(config_with())
    config["runs"]["micro"]["queries"]["source"] = "held_out"
    with pytest.raises(SystemExit, match=r"queries\.source is held_out, whose images have no noise"):
        load(config)


def thickness_config() -> dict[str, Any]:
    return yaml.safe_load((PROJECT / "config" / "thickness.yaml").read_text())


@pytest.mark.parametrize(
    ("table", "changes", "sentence"),
    [
        ("queries", {"select": None}, "thickness asks about the thickest generated digits, but"),
        ("queries", {"select": {"of": 10, "keep": 20}}, "queries.select.keep is 20, above of 10"),
        ("queries", {"source": "held_out"}, "queries.select takes generated images that a classifier tells"),
        ("thickness", {"top_k": 2100}, "thickness.top_k is 2100, but the training set has 2100 samples"),
        ("thickness", {"methods": ["thickest"]}, "methods has thickest, which is always there as a control"),
    ],
)
def test_mistake_in_the_study_of_thickness_is_told(
    table: str, changes: dict[str, Any], sentence: str, project: None
) -> None:
    config = thickness_config()
    config["runs"]["thickness"][table] |= changes
    with pytest.raises(SystemExit, match=sentence.replace(".", r"\.")):
        load(config)


def test_study_of_thickness_is_planned(project: None) -> None:
    run = load(thickness_config()).runs["thickness"]
    assert run.queries.kind == "selected"
    assert [len(run.studies["thickness"].ranges(name)) for name in ("none", "thickest", "dmin")] == [1, 1, 1]


def test_study_of_thickness_has_a_job_for_each_training(new_checkout: Callable[[str], Checkout]) -> None:
    checkout = new_checkout("thickness")
    (checkout.root / "resources").symlink_to(PROJECT / "resources")
    checkout.write_config(yaml.safe_dump(thickness_config(), sort_keys=False))
    plan = checkout.plan("thickness")
    assert plan["retrain_without"] == plan["regenerate"] == 10 and plan["choose_thickness_removals"] == 8
    assert plan["generate_candidates"] == plan["select_queries"] == plan["evaluate_thickness"] == 1
    assert "label_queries" not in plan and "generate_queries" not in plan
