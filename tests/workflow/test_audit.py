"""The audit of the micro run, made on demand, by its own jobs only."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest
import yaml
from checkout import PROJECT, Checkout, micro_config
from config_tables import load

AUDIT = "results/runs/micro/audit"
MADE = {
    "encode_test": 1, "embed_samples": 2, "cache_gradients": 1, "compress": 1, "measure_sample_losses": 2,
    "audit_samples": 1, "audit_issues": 1, "audit_page": 1,
}  # fmt: skip
CONSEQUENCE = {"steps": 2, "queries": 2, "timesteps": 2, "draws": 1, "seeds": 1, "per_job": 3}
TRAINED = {
    "choose_audited_removals": 1, "retrain_audited": 1, "measure_audited_losses": 1, "regenerate_audited": 1,
    "evaluate_audit_consequence": 1,
}  # fmt: skip


def config_with(**audit: Any) -> str:
    config = micro_config()
    config["runs"]["micro"]["audit"] = {"timesteps": 2, "k": 4, "consequence": CONSEQUENCE} | audit
    return yaml.safe_dump(config, sort_keys=False)


@pytest.fixture(scope="module")
def audited(finished: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """Return a copy of the finished micro run with its audit."""
    checkout = Checkout(tmp_path_factory.mktemp("audited"), finished.root)
    checkout.write_config(config_with())
    plan = checkout.plan("audit")
    assert plan == MADE | TRAINED | {"audit": 1}
    made = checkout.run("audit")
    assert f"Open in a browser: {AUDIT}/audit.html" in made.stdout + made.stderr
    return checkout


def test_an_audit_says_what_few_held_out_images_cannot_tell(audited: Checkout) -> None:
    folder = audited.root / AUDIT
    table = pd.read_csv(folder / "samples.csv")
    assert len(table) == 60 and table["loss_se"].gt(0).all() and table["caption_gap"].notna().any()
    summary = json.loads((folder / "audit.json").read_text())
    assert "the test set has 15 images" in summary["left_out"]["mislabelled"] and "duplicate" in summary["issues"]
    lists = [(folder / f"{name}.txt").read_text().splitlines() for name in ("keep", "drop")]
    assert sum(map(len, lists)) == (table["subset"] != "noise").sum() < 60
    assert "Which training images should you look at?" in (folder / "audit.html").read_text()
    assert set(audited.plan("audit")) <= {"audit"}


def test_the_confidence_of_intervals_trains_nothing_again(audited: Checkout) -> None:
    config = yaml.safe_load(config_with())
    config["runs"]["micro"]["evaluation"]["confidence"] = 0.8
    try:
        audited.write_config(yaml.safe_dump(config, sort_keys=False))
        plan = audited.plan("audit")
    finally:
        audited.write_config(config_with())
    assert plan == {"audit_issues": 1, "evaluate_audit_consequence": 1, "audit_page": 1, "audit": 1}


def test_an_audit_says_what_removing_the_flagged_images_does(audited: Checkout) -> None:
    table = pd.read_csv(audited.root / "results/runs/micro/tables/audit_consequence.csv").set_index("measure")
    losses, recognised = table.loc["held_out_loss"], table.loc["recognised"]
    assert losses["removal"].tolist() == recognised["removal"].tolist() == ["none", "flagged", "random"]
    assert (losses["images"] == 15).all() and (recognised["images"] == 2).all() and (table["seeds"] == 1).all()
    # Too few images are held out to flag any, so that the trainings are the same.
    assert table.loc[table["removal"] == "flagged", ["removed", "difference"]].eq(0).all(axis=None)
    assert '"pairs":[["' in (audited.root / AUDIT / "audit.html").read_text().replace(" ", "")


def test_a_rate_judges_again_and_measures_nothing(audited: Checkout) -> None:
    try:
        audited.write_config(config_with(fdr=0.2))
        plan = audited.plan("audit")
    finally:
        audited.write_config(config_with())
    assert plan == TRAINED | {"audit_issues": 1, "audit_page": 1, "audit": 1}


def test_scores_are_ranked_among_those_of_the_test_set(audited: Checkout) -> None:
    config = yaml.safe_load(config_with())
    config["runs"]["micro"]["influence"] |= {"significance": {"held_out": True}, "methods": ["dmin"], "widths": [64]}
    config["runs"]["micro"]["influence"]["uncompressed"] = False
    folder = "results/runs/micro/influence/dmin/v64"
    asked = [f"{folder}/exact/ranking.csv", "results/runs/micro/figures/risk_coverage.svg"]
    try:
        audited.write_config(yaml.safe_dump(config, sort_keys=False))
        # The audit's gradients are those of this method.
        plan = audited.plan(*asked)
        assert {"evaluate_risk_coverage", "plot_risk_coverage"} <= audited.plan("all").keys()
        audited.run(*asked)
    finally:
        audited.write_config(config_with())
    assert plan == dict.fromkeys(
        ["compress", "score", "write_ranking", "evaluate_risk_coverage", "plot_risk_coverage"], 1
    )
    risk = pd.read_csv(audited.root / "results/runs/micro/tables/risk_coverage.csv")
    assert set(risk["truth"]) == {"hits"} and risk["queries"].max() == 12 and risk["coverage"].max() == 1
    table = pd.read_csv(audited.root / folder / "exact" / "ranking.csv")
    told = json.loads((audited.root / folder / "scores.json").read_text())["significance"]
    assert set(told["held_out"]) <= set(range(1, 16)) and len(told["auc"]) == 12
    assert table["p_value"].between(1 / 16, 1).all() and not table["significant"].any()
    assert (table["low"] < table["score"]).all() and (table["score"] < table["high"]).all()


@pytest.mark.parametrize(
    ("plant", "words"),
    [
        ({"blank": 0.4, "foreign": 0.3}, ["datasets.micro.plant", "in 0.7 of the rows", "at most 0.6"]),
        ({"blank": 0.9}, ["datasets.micro.plant.blank", "0.9 is greater than the maximum of 0.5"]),
    ],
)
@pytest.mark.usefixtures("micro_files")
def test_plants_that_cannot_be_are_refused(plant: dict[str, float], words: list[str]) -> None:
    config = micro_config()
    config["datasets"]["micro"]["plant"] = plant
    with pytest.raises(SystemExit) as caught:
        load(config)
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.usefixtures("micro_files")
def test_what_needs_a_test_set_is_refused_without_one() -> None:
    config = micro_config()
    config["datasets"]["micro"]["train_fraction"] = 1
    config["runs"]["micro"] |= {"audit": {}, "queries": {"source": "prompts", "prompts": ["a red square"]}}
    run = load(config).runs["micro"]
    assert run.audit.splits == ["train"] and run.audit.tables == []
    config["runs"]["micro"]["queries"] = {"source": "held_out", "per_subset": 2}
    with pytest.raises(SystemExit, match=r"source is held_out, which .*train_fraction is 1 and leaves none"):
        load(config)


@pytest.mark.usefixtures("micro_files")
@pytest.mark.fault(
    "retraining without flagged images where no image is held out, or of weights trained elsewhere",
    "a sentence that names the key",
)
def test_what_cannot_be_trained_again_is_refused() -> None:
    config = micro_config()
    config["datasets"]["micro"]["train_fraction"] = 1
    config["runs"]["micro"] |= {
        "audit": {"consequence": {}},
        "queries": {"source": "prompts", "prompts": ["a red square"]},
    }
    with pytest.raises(SystemExit, match=r"runs.micro.audit.consequence measures the loss .*no test set; set datasets"):
        load(config)
    config["datasets"]["micro"]["train_fraction"] = 0.5
    run = load(config).runs["micro"]
    assert run.audit.consequence.images and not run.audit.consequence.features
    assert run.audit.consequence.removals == ["none", "flagged", "random", "random"]
    config["models"]["micro"]["weights"] = {"path": "base"}
    with pytest.raises(SystemExit, match=r"runs.micro.audit.consequence trains model micro again, but"):
        load(config)


def test_an_audit_trains_nothing_unless_it_is_asked_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)
    for name in ("audit", "own"):
        for run in load(yaml.safe_load((PROJECT / "config" / f"{name}.yaml").read_text())).audited:
            assert run.audit.consequence is None and run.audit.shown == {"table": [], "images": [], "queries": []}
    run = load(yaml.safe_load((PROJECT / "config" / "audit_consequence.yaml").read_text())).runs["audited"]
    assert len(run.audit.consequence.ranges) == 2 and run.audit.tables[-1].endswith("audit_consequence.csv")


def test_the_shipped_audit_knows_what_was_planted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)
    run = load(yaml.safe_load((PROJECT / "config" / "audit.yaml").read_text())).runs["audited"]
    names = [table.rpartition("/")[2] for table in run.audit.tables]
    assert names == ["audit_detection.csv", "audit_found.csv", "audit_calibration.csv"]
    assert run.audit.cache == "loss_scaled" and set(run.audit.norm_shards()) == {
        "self_influence", "self_influence_scaled",
    }  # fmt: skip
