"""What ablations of timesteps and seeds take from a run."""

from __future__ import annotations

from typing import Any

import pytest
from run_config import PROJECT, config, tables

from dmin.runtime.errors import UserError
from dmin.workflow.tables import Tables, read_tables


@pytest.mark.parametrize(
    ("timesteps", "subsets"),
    [
        # PNDM's list, of which the first position is dropped.
        ({"grid": "dmin_cubic", "count": 4}, [[0], [875, 0], [985, 875, 579, 0]]),
        ({"grid": "uniform", "count": 4}, [[0], [500, 0], [750, 500, 250, 0]]),
        ({"grid": "custom", "custom": [925, 25, 425]}, [[925], [925, 425, 25]]),
    ],
)
def test_fewer_timesteps_are_those_of_the_coarser_grid(timesteps: dict[str, Any], subsets: list[list[int]]) -> None:
    gradients = {"cache_dim": 256, "timesteps": timesteps}
    ablation = tables(["dmin", "tracin"], gradients=gradients, ablation={"hnsw": {"v": 64}}).runs["r"].ablation
    assert ablation.timestep_subsets == subsets
    assert ablation.tables == ["timestep_cosines", "timesteps_ablation", "replay_bias"]
    assert ablation.replayed == [("tracin", "64"), ("tracin", "256")]


def seeds(**changes: Any) -> Tables:
    """Return two runs of models that differ in their seed, and in ``changes`` of the second run."""
    queries = {"source": "held_out", "per_subset": 3}
    given = config(["dmin"], queries=queries, ablation={"seeds": ["s"], "hnsw": {"v": 64}})
    given["models"]["n"] = {**given["models"]["m"], "train": {**given["models"]["m"]["train"], "seed": 7}}
    other = {key: value for key, value in given["runs"]["r"].items() if key != "ablation"}
    given["runs"]["s"] = {**other, "model": "n", **changes}
    return read_tables(given, PROJECT)


def test_seeds_are_compared_on_the_same_images_alone() -> None:
    assert seeds().runs["r"].ablation.tables[-1] == "seed_agreement"
    for changes, sentence in (
        ({"queries": {"per_subset": 3}}, r"ablation\.seeds has 's', whose queries or influence differ"),
        ({"gradients": {"cache_dim": 512}}, r"whose model or gradients differ in more than train\.seed"),
    ):
        with pytest.raises(UserError, match=sentence):
            seeds(**changes)
    with pytest.raises(UserError, match=r"runs\.r\.ablation\.seeds has 'r', which is no other run"):
        tables(["dmin"], ablation={"seeds": ["r"], "hnsw": {"v": 64}})
    two = config(["dmin"], ablation={"seeds": ["s"], "hnsw": {"v": 64}})
    two["runs"]["s"] = {key: value for key, value in two["runs"]["r"].items() if key != "ablation"}
    with pytest.raises(UserError, match=r"queries\.source is generated, and each model generates its own"):
        read_tables(two, PROJECT)
