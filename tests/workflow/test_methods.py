"""The methods that the config admits, the rules run and the library offers are the same."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import yaml

from dmin.attribution.registry import METHODS
from dmin.gradients.timesteps import timestep_grid
from dmin.runtime.errors import UserError

ROOT = Path(__file__).parents[2]


def _lists() -> dict[str, Any]:
    tree = ast.parse((ROOT / "rules" / "methods.smk").read_text())
    return {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id in ("METHOD_FEATURES", "CHECKPOINT_METHODS", "SAMPLE_METHODS")
    }


def test_rules_know_what_every_method_reads() -> None:
    gradients = {name for name, method in METHODS.items() if method.inputs == "gradients"}
    lists = _lists()
    assert set(lists["METHOD_FEATURES"]) == gradients
    checkpoints = {name for name, method in METHODS.items() if method.inputs == "checkpoints"}
    assert set(lists["CHECKPOINT_METHODS"]) == checkpoints
    assert set(lists["SAMPLE_METHODS"]) == set(METHODS) - gradients - checkpoints


def test_config_admits_every_method() -> None:
    schema = yaml.safe_load((ROOT / "schemas" / "config.schema.yaml").read_text())
    methods = schema["$defs"]["run"]["properties"]["influence"]["properties"]["methods"]
    assert set(methods["items"]["enum"]) == set(METHODS)


@pytest.mark.parametrize("family", ["stable_diffusion", "ddpm"])
def test_config_refuses_the_counts_that_the_grid_refuses(family: str) -> None:
    tree = ast.parse((ROOT / "rules" / "run_validation.smk").read_text())
    function = next(node for node in tree.body if getattr(node, "name", "") == "repeats_timesteps")
    namespace: dict[str, Any] = {}
    exec(ast.unparse(function), namespace)
    for count in range(1, 60):
        try:
            timestep_grid({"grid": "dmin_cubic", "count": count, "custom": []}, family)
            repeats = False
        except UserError:
            repeats = True
        assert namespace["repeats_timesteps"](count, family) == repeats
