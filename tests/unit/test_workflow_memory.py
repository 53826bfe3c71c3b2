"""The memory that jobs ask for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from snakemake.profiles import ProfileConfigFileParser

from dmin.workflow.memory import LEAST, index_mb, model_mb, scoring_mb
from dmin.workflow.tables import read_tables

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def profile() -> Mapping[str, Any]:
    """The default profile as Snakemake reads it."""
    with (PROJECT / "profiles" / "default" / "profile.yaml").open() as file:
        parsed: Mapping[str, Any] = ProfileConfigFileParser().parse(file)
    return parsed


def test_profile_limits_jobs_to_the_memory_of_the_machine(profile: Mapping[str, Any]) -> None:
    resources = dict(entry.split("=") for entry in profile["resources"])
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 10**6
    assert resources["gpu"] == "1" and 0 < int(resources["mem_mb"]) <= machine
    assert profile["default-resources"] == [f"mem_mb={LEAST}"]


def test_jobs_ask_for_what_their_sizes_take(tmp_path: Path) -> None:
    sources = [{"name": "s", "path": "owner/s", "rows": 100_000}]
    run: dict[str, Any] = {"model": "m", "gradients": {"cache_dim": 256}, "influence": {"widths": [256]}}
    given: dict[str, Any] = {
        "datasets": {"d": {"sources": sources}},
        "bases": {"b": {"path": "owner/base"}},
        "models": {"m": {"dataset": "d", "base": "b"}},
        "runs": {"r": run},
    }
    tables = read_tables(given, PROJECT)
    gradients = tables.runs["r"].gradients
    count, steps = gradients.count("train"), gradients.timestep_count
    assert count == 84_000
    assert index_mb(gradients, "256", 16) == LEAST + count * (steps * 256 + 36) * 4 // 10**6
    assert scoring_mb(gradients, "dmin", "256") == scoring_mb(gradients, "grad_dot", "full") == LEAST
    assert scoring_mb(gradients, "grad_dot", "256") == LEAST + 8 * count * steps * 256 // 10**6
    # A kernel of all pairs is not for this size, and the job says so.
    assert scoring_mb(gradients, "dmin_kernel", "256") > 200_000

    assert model_mb(tables.bases["b"]) == LEAST + 2 * 5000
    (tmp_path / "unet").mkdir()
    with (tmp_path / "unet" / "weights.safetensors").open("wb") as file:
        file.truncate(3 * 10**9)
    given["bases"]["b"]["path"] = str(tmp_path)
    base = read_tables(given, PROJECT).bases["b"]
    assert model_mb(base) == LEAST + 6000 and model_mb(base, copies=5) == LEAST + 15_000
