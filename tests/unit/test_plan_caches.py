"""The plan counts every cache that the methods of a run read, and no index of a run that builds none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from run_config import PROJECT, config

from dmin.plan import memory
from dmin.plan.architecture import read_architecture
from dmin.plan.denoiser import MetaDenoiser
from dmin.plan.plan import estimate_runs
from dmin.workflow.plan_entries import plan_entry
from dmin.workflow.tables import read_tables

SHIPPED = PROJECT / "resources" / "architectures"
LORA = {"rank": 4, "alpha": 8, "targets": ["to_q", "to_k", "to_v", "to_out.0"]}


def costs_of(base: dict[str, Any], methods: list[str], **influence: Any) -> dict[str, Any]:
    """Return the costs, at v=64, of a run of 84 training samples and 6 queries at 10 timesteps."""
    tables = read_tables(
        config(methods, influence={"methods": methods, "widths": [256, 64], "top_k": 10, **influence}), PROJECT
    )
    entry = plan_entry(tables, tables.runs["r"]) | {"base": base, "lora": LORA, "size": 16, "throughput": 2.0}
    _, costs = estimate_runs([entry], SHIPPED, Path("none.csv"))
    return costs.set_index("v").to_dict("index")["64"]


def test_plan_counts_every_cache_that_methods_read(tiny_base: Any) -> None:
    parameters = MetaDenoiser(read_architecture("tiny", tiny_base, SHIPPED), LORA, "adapter").attributed
    one, two = (costs_of(tiny_base, methods) for methods in (["dmin"], ["dmin", "dmin_scaled"]))
    assert one["evaluations_with_queries"] == 10 * (84 + 6)
    assert one["cache_bytes"] == 900 * (2 * (256 + parameters) + 4) and one["sketch_bytes"] == 900 * 2 * 64
    # What is left of the second is the pilot of its scale, of 64 samples.
    assert two["evaluations_with_queries"] == 2 * 900 + 64 * 10
    assert [two[key] for key in ("cache_bytes", "sketch_bytes")] == [
        2 * one[key] for key in ("cache_bytes", "sketch_bytes")
    ]
    assert two["hours"] == (2 * 900 + 640) / 2 / 3600


@pytest.mark.parametrize(
    ("method", "evaluations", "stored"),
    [
        # The table of gradient norms reads the cache of the loss of every run.
        ("pixels", 0, 0),
        ("dtrak", 900, 900 * (2 * 256 + 4)),
        # A sketch for each tensor, in cells of one.
        ("datainf", 900, 900 * (2 * 32 + 4) + 900 * 2 * 32),
        ("journey_trak", 6 * 7 * 2, 6 * 7 * (2 * 256 + 4)),
        ("lissa", 6 * (10 + 5 * 8), 6 * (2 * 256 + 4)),
        # Two checkpoints: a replayed timestep of each sample, three of each query.
        ("tracin", 2 * (84 + 6 * 3 * 2), 2 * (84 + 6 * 3) * (2 * 256 + 4)),
    ],
)
def test_cache_of_a_method_is_counted_beside_that_of_the_loss(
    tiny_base: Any, method: str, evaluations: int, stored: int
) -> None:
    options = {
        "journey_steps": 7, "journey_draws": 2, "lissa_products": 5, "lissa_batch": 8, "tracin_timesteps": 3,
        "tracin_draws": 2,
    }  # fmt: skip
    alone, both = (costs_of(tiny_base, methods, options=options) for methods in (["dmin"], ["dmin", method]))
    assert both["evaluations_with_queries"] - alone["evaluations_with_queries"] == evaluations
    assert both["cache_bytes"] - alone["cache_bytes"] == stored


def test_run_without_an_index_or_sketches_has_none(tiny_base: Any) -> None:
    indexed, exact = (costs_of(tiny_base, ["dmin"], backends=backends) for backends in (["exact", "hnsw"], ["exact"]))
    assert indexed["index_bytes"] == memory.index_bytes(84, 640, 16) and exact["index_bytes"] == 0
    plain = costs_of(tiny_base, ["pixels"])
    assert plain["index_bytes"] == plain["sketch_bytes"] == 0
    assert plain["evaluations_with_queries"] == exact["evaluations_with_queries"]
