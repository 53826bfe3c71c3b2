"""What a change reruns, and what it must not: dry runs in the finished micro run."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
import yaml
from checkout import MICRO, Checkout, micro_config

GALLERIES, METHODS, WIDTHS = 3, 2, 3

# Rules by what they hang on, each stage with all that follows it.
COMPARED = {"evaluate_agreement", "plot_agreement", "plot_main_table", "plot_methods"}
SCORED = COMPARED | {
    "score", "evaluate_detection", "evaluate_hubness", "evaluate_significance", "evaluate_cost", "plot_detection",
    "plot_scores", "plot_gallery", "explorer", "write_ranking",
}  # fmt: skip
CACHED = SCORED | {
    "cache_gradients", "compress", "build_index", "retrieve", "evaluate_retrieval", "evaluate_norms",
    "plot_retrieval", "plot_norms",
}  # fmt: skip
GENERATED = CACHED | {"score_samples", "generate_queries", "encode_queries", "evaluate_generation", "plot_queries"}
TRAINED = GENERATED | {"train_model", "plot_training"}
ASSEMBLED = TRAINED | {"assemble_dataset", "encode_samples"}
EVERYTHING = ASSEMBLED | {"fetch_source"}


def put(config: dict[str, Any], path: str, value: Any) -> None:
    """Set a nested key, named with dots."""
    *parents, last = path.split(".")
    for name in parents:
        config = config.setdefault(name, {})
    config[last] = value


def plan_with(finished: Checkout, path: str, value: Any) -> dict[str, int]:
    """Return the plan after a change of one key."""
    return finished.plan_with(lambda config: put(config, path, value))


def test_second_run_does_nothing(finished: Checkout) -> None:
    assert finished.plan() == {}


def test_plot_setting_redraws_the_figures_only(finished: Checkout) -> None:
    assert plan_with(finished, "figures.dpi", 70) == {
        "plot_agreement": 1,
        "plot_detection": 1,
        "plot_gallery": GALLERIES,
        "plot_main_table": 1,
        "plot_methods": GALLERIES,
        "plot_norms": 1,
        "plot_queries": 1,
        "plot_retrieval": 1,
        "plot_scores": METHODS,
        "plot_training": 1,
    }


def test_gallery_setting_redraws_the_galleries_only(finished: Checkout) -> None:
    assert plan_with(finished, "figures.gallery.most", 4) == {"plot_gallery": GALLERIES, "plot_methods": GALLERIES}


def test_explorer_setting_makes_the_explorer_only(finished: Checkout) -> None:
    assert plan_with(finished, "figures.explorer_top", 5) == {"explorer": 1}


def test_new_width_folds_and_indexes_once(finished: Checkout) -> None:
    assert plan_with(finished, "runs.micro.influence.widths", [64, 128, 256]) == {
        "build_index": 1,
        "compress": 2,
        "evaluate_cost": 1,
        "evaluate_detection": 1,
        "evaluate_hubness": 1,
        "evaluate_retrieval": 1,
        "evaluate_significance": 1,
        "plot_detection": 1,
        "plot_main_table": 1,
        "plot_retrieval": 1,
        "retrieve": 1,
        "score": METHODS,
        "write_ranking": METHODS,
    }


def test_evaluation_depths_evaluate_again_only(finished: Checkout) -> None:
    assert plan_with(finished, "runs.micro.evaluation.k", [2, 5, 10]) == {
        "evaluate_agreement": 1,
        "evaluate_detection": 1,
        "evaluate_hubness": 1,
        "evaluate_retrieval": 1,
        "plot_agreement": 1,
        "plot_detection": 1,
        "plot_main_table": 1,
        "plot_retrieval": 1,
    }


def test_longer_lists_score_again_only(finished: Checkout) -> None:
    assert set(plan_with(finished, "runs.micro.influence.top_k", 12)) == SCORED | {
        "score_samples",
        "retrieve",
        "evaluate_retrieval",
        "plot_retrieval",
    }


@pytest.mark.parametrize(("path", "value"), [("sketch_seed", 7), ("timesteps.count", 4), ("noise.policy", "by_id")])
def test_gradient_setting_caches_again_and_never_trains(finished: Checkout, path: str, value: Any) -> None:
    assert set(plan_with(finished, f"runs.micro.gradients.{path}", value)) == CACHED


def test_query_seed_generates_again_and_never_trains(finished: Checkout) -> None:
    plan = plan_with(finished, "runs.micro.queries.seed", 7)
    # The training set's gradients, sketches and indexes do not hang on the queries.
    assert set(plan) == GENERATED - {"build_index"}
    assert plan["cache_gradients"] == 1 and plan["compress"] == WIDTHS - 1


def test_learning_rate_trains_again_on_the_same_data(finished: Checkout) -> None:
    assert set(plan_with(finished, "models.micro.train.learning_rate", 0.02)) == TRAINED


def test_noise_assembles_again_from_the_same_sources(finished: Checkout) -> None:
    assert set(plan_with(finished, "datasets.micro.noise.fraction", 0.1)) == ASSEMBLED


def test_more_rows_of_a_source_fetch_that_source_only(finished: Checkout) -> None:
    def shorten(config: dict[str, Any]) -> None:
        config["datasets"]["micro"]["sources"][0]["rows"] = 23

    plan = finished.plan_with(shorten)
    assert set(plan) == EVERYTHING
    assert plan["fetch_source"] == 1


def test_changed_image_in_a_folder_is_fetched_again(finished: Checkout) -> None:
    path = finished.root / "data" / "blue" / "000.png"
    before = path.read_bytes()
    try:
        path.write_bytes((path.parent / "001.png").read_bytes())
        plan = finished.plan()
    finally:
        path.write_bytes(before)
    assert set(plan) == EVERYTHING
    assert plan["fetch_source"] == 1


def reversed_keys(value: Any) -> Any:
    """Return a config with the keys of every mapping in reverse order."""
    if isinstance(value, dict):
        return {key: reversed_keys(value[key]) for key in reversed(value)}
    return [reversed_keys(entry) for entry in value] if isinstance(value, list) else value


def test_config_without_data_sets_is_laid_over_the_default_one(finished: Checkout) -> None:
    (finished.root / "overlay.yaml").write_text("runs: {micro: {evaluation: {k: [2, 5, 10]}}}")
    changed = plan_with(finished, "runs.micro.evaluation.k", [2, 5, 10])
    assert finished.plan("--configfile", "overlay.yaml") == changed


def test_config_with_data_sets_stands_alone(finished: Checkout) -> None:
    config = micro_config()
    config["runs"] = {"second": config["runs"]["micro"]}
    (finished.root / "alone.yaml").write_text(yaml.safe_dump(config))
    (finished.root / "config" / "config.yaml").write_text("no: config")
    try:
        plan = finished.plan("--configfile", "alone.yaml")
    finally:
        finished.write_config(MICRO.read_text())
    assert set(plan) == GENERATED | {"plot_training"} and plan["generate_queries"] == 1


def test_order_of_keys_reruns_nothing(finished: Checkout) -> None:
    text = yaml.safe_dump(reversed_keys(micro_config()), sort_keys=False)
    assert text.index("compute:") < text.index("datasets:")
    assert finished.plan_as(text) == {}


def test_comments_rerun_nothing(finished: Checkout) -> None:
    assert finished.plan_as(re.sub("$", "  # a remark", MICRO.read_text(), flags=re.MULTILINE)) == {}


def test_writing_defaults_out_reruns_nothing(finished: Checkout) -> None:
    def write_out(config: dict[str, Any]) -> None:
        put(config, "datasets.micro.train_fraction", 0.8)
        put(config, "datasets.micro.noise", {"fraction": 0.05, "std": 0.1})
        put(config, "bases.tiny.family", "stable_diffusion")
        put(config, "models.micro.train.seed", 42)
        put(config, "runs.micro.gradients.noise", {"policy": "shared", "seed": 42})
        put(config, "runs.micro.gradients.timesteps.custom", [])
        put(config, "runs.micro.influence.hnsw.M", 16)
        put(config, "runs.micro.evaluation.confidence", 0.95)
        put(config, "figures.explorer_top", 24)

    assert finished.plan_with(write_out) == {}


def test_speed_settings_rerun_nothing(finished: Checkout) -> None:
    batches = {"encode_batch": 7, "sample_batch": 5, "gradient_batch": 11}
    assert plan_with(finished, "compute", {"device": "auto", "threads": 2, "save_every": 1} | batches) == {}


def test_second_run_of_a_model_shares_it(finished: Checkout) -> None:
    def add(config: dict[str, Any]) -> None:
        config["runs"]["second"] = copy.deepcopy(config["runs"]["micro"]) | {"queries": {"per_subset": 2}}

    plan = finished.plan_with(add)
    assert set(plan) == GENERATED | {"plot_training"}
    assert plan["generate_queries"] == plan["explorer"] == 1


def test_second_model_shares_the_encoded_samples(finished: Checkout) -> None:
    def add(config: dict[str, Any]) -> None:
        config["models"]["other"] = copy.deepcopy(config["models"]["micro"]) | {"lora": {"rank": 2}}
        config["runs"]["other"] = copy.deepcopy(config["runs"]["micro"]) | {"model": "other"}

    plan = finished.plan_with(add)
    assert set(plan) == TRAINED
    assert plan["train_model"] == 1


def test_added_method_runs_its_own_job_only(finished: Checkout) -> None:
    plan = plan_with(finished, "runs.micro.influence.methods", ["dmin", "dmin_no_norm", "text", "pixels"])
    tables = {"evaluate_detection", "evaluate_hubness", "evaluate_significance", "evaluate_cost"}
    assert set(plan) == {"score_samples", *tables, "plot_detection", "explorer", "write_ranking"} | COMPARED
    assert plan["score_samples"] == 1


def test_scaled_method_measures_its_scale_and_caches_under_it(finished: Checkout) -> None:
    plan = plan_with(finished, "runs.micro.influence.methods", ["dmin", "dmin_no_norm", "text", "dmin_scaled"])
    assert plan["pilot_scale"] == 1 and plan["cache_gradients"] > 0 and plan["compress"] == 2 * WIDTHS - 2
    assert not {"train_model", "build_index", "retrieve", "score_samples"} & set(plan)


def test_curvature_is_measured_once_and_read_by_the_queries_alone(finished: Checkout) -> None:
    plan = plan_with(finished, "runs.micro.influence.methods", ["dmin", "dmin_no_norm", "text", "ekfac"])
    assert plan["pilot_curvature"] == 1 and plan["cache_gradients"] == 1 and plan["compress"] == WIDTHS - 1
    assert not {"train_model", "pilot_scale", "build_index", "retrieve", "score_samples"} & set(plan)


def test_scale_concerns_the_scaled_caches_alone(finished: Checkout) -> None:
    assert plan_with(finished, "runs.micro.gradients.scale.floor", 0.2) == {}


def test_one_method_alone_needs_no_index_search(finished: Checkout) -> None:
    plan = plan_with(finished, "runs.micro.influence.methods", ["dmin_no_norm"])
    assert "retrieve" not in plan
    assert "cache_gradients" not in plan


def test_edited_module_reruns_the_rules_that_use_it(finished: Checkout) -> None:
    edit = ("scripts/dmin/gradients/timesteps.py", "steps = grid_timesteps(", "steps = 1 * grid_timesteps(")
    assert set(finished.plan_edited(*edit)) == CACHED


def test_edited_drawing_code_reruns_its_figure(finished: Checkout) -> None:
    edit = ("scripts/dmin/figures/norms.py", "@house_style\ndef", "@house_style\n@house_style\ndef")
    assert finished.plan_edited(*edit) == {"plot_norms": 1}


def test_edited_page_template_makes_the_explorer_again(finished: Checkout) -> None:
    assert finished.plan_edited("scripts/dmin/figures/explorer.html.j2", "<body", "<body ") == {"explorer": 1}


def test_comments_and_docstrings_of_a_module_rerun_nothing(finished: Checkout) -> None:
    old = '    """Return ``count + 1`` positions'
    new = '    # A remark.\n    """Give ``count + 1`` positions'
    assert finished.plan_edited("scripts/dmin/settings/timesteps.py", old, new) == {}


def test_touched_script_reruns_nothing(finished: Checkout) -> None:
    # A checkout of another branch and back gives every script a new time.
    assert finished.plan_edited("scripts/train_model.py", "from pathlib", "# A remark.\nfrom pathlib") == {}


def test_edited_script_reruns_its_rule(finished: Checkout) -> None:
    assert finished.plan_edited("scripts/plot_norms.py", "with job", "pass\nwith job") == {"plot_norms": 1}


def test_caption_edit_reruns_nothing(finished: Checkout) -> None:
    assert finished.plan_edited("report/norms.rst", "Lines are medians", "The lines are medians") == {}


@pytest.mark.parametrize(
    ("milestone", "rules"),
    [
        ("datasets", {"assemble_dataset", "fetch_source"}),
        ("models", {"assemble_dataset", "fetch_source", "encode_samples", "train_model"}),
    ],
)
def test_milestone_makes_no_more_than_it_says(finished: Checkout, milestone: str, rules: set[str]) -> None:
    assert set(finished.plan("--forceall", milestone)) == rules | {milestone}
