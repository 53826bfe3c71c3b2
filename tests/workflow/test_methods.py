"""The methods that the config admits, the rules run and the library offers are the same."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from checkout import micro_config
from config_tables import load

from dmin.attribution.registry import METHODS
from dmin.catalogue.methods import CURVED_CACHE, SCALED_CACHES
from dmin.gradients.timesteps import timestep_grid
from dmin.runtime.errors import UserError
from dmin.workflow.ablations import COMPRESSED_METHODS

pytestmark = pytest.mark.usefixtures("micro_files")


def config_of(methods: list[str]) -> dict[str, Any]:
    """Return the micro config with these methods and what they need."""
    config = micro_config()
    config["models"]["micro"]["train"] |= {"steps": 10, "checkpoints": [9]}
    influence = config["runs"]["micro"]["influence"]
    influence |= {"methods": methods, "options": {"journey_steps": 2}}
    return config


def test_config_admits_every_method_and_rules_score_each_once_a_width() -> None:
    influence = load(config_of(list(METHODS))).runs["micro"].influence
    assert influence.methods == list(METHODS)
    parts = [influence.gradient_methods, influence.checkpoint_methods]
    rest = [name for name in METHODS if not any(name in part for part in parts)]
    assert {METHODS[name].inputs for name in rest} == {"samples", "scores", "taught", "nothing"}
    assert len(influence.tops) == len(set(influence.tops)) == sum(len(influence.widths(name)) for name in METHODS)


def test_every_cache_that_a_method_reads_is_filled() -> None:
    run = load(config_of(list(METHODS))).runs["micro"]
    for method, caches in run.influence.read_caches.items():
        for split, names in caches.items():
            # What is taught asks about queries without their gradients.
            assert names or (METHODS[method].inputs, split) == ("taught", "queries"), method
            assert set(names) <= {*run.influence.caches(split), *run.gradients.checkpoint_caches}
    plain = ["journey", "lissa", "loss", "loss_blocks", "output_mean", "output_norm"]
    assert run.influence.caches("queries") == sorted([*plain, CURVED_CACHE, *SCALED_CACHES])


def test_scale_is_measured_once_for_each_quantity_and_on_no_more_than_there_are() -> None:
    gradients = load(config_of(list(METHODS))).runs["micro"].gradients
    assert (
        gradients.scale("loss_scaled") == gradients.scale("loss_query_scaled") != gradients.scale("output_norm_scaled")
    )
    assert gradients.scale("loss") == [] and gradients.pilot == gradients.count("train") < 64
    assert gradients.gradient_settings("loss_scaled", "train")["scale"]["pilot"] == gradients.pilot
    assert "scale" not in gradients.gradient_settings("loss", "train")
    assert "cache_dim" not in gradients.scale_settings("loss")


def test_pilot_larger_than_the_set_is_refused_where_a_method_needs_it() -> None:
    config = config_of(["dmin"])
    config["runs"]["micro"]["gradients"]["scale"] = {"pilot": 1000}
    load(config)
    config["runs"]["micro"]["influence"]["methods"] = ["dmin", "dmin_scaled"]
    with pytest.raises(
        SystemExit, match=r"^Error: runs.micro.gradients.scale.pilot is 1000, but the training set has \d+ samples"
    ):
        load(config)


def test_narrowed_methods_read_one_sketch_of_both_sides() -> None:
    assert "dmin" in COMPRESSED_METHODS and "dtrak" in COMPRESSED_METHODS
    assert not {"datainf", "journey_trak", "lissa", "tracin", "clip"} & set(COMPRESSED_METHODS)


@pytest.mark.parametrize(("family", "base"), [("stable_diffusion", {}), ("ddpm", {"finetune": "full"})])
def test_config_refuses_the_counts_that_the_grid_refuses(family: str, base: dict[str, Any]) -> None:
    config = micro_config()
    config["bases"]["tiny"]["family"] = family
    config["models"]["micro"] |= base
    config["runs"]["micro"]["gradients"]["parameters"] = "all"
    for count in range(1, 60):
        given = copy.deepcopy(config)
        given["runs"]["micro"]["gradients"]["timesteps"] = {"grid": "dmin_cubic", "count": count}
        try:
            timestep_grid({"grid": "dmin_cubic", "count": count, "custom": []}, family)
        except UserError:
            with pytest.raises(SystemExit, match=f"timesteps.count is {count}, at which the grid dmin_cubic repeats"):
                load(given)
        else:
            load(given)
