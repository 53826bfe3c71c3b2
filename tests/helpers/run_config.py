"""A config of one run on data of the hub, and its tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dmin.workflow.tables import Tables, read_tables

PROJECT = Path(__file__).parents[2]
RUN = "<results>/runs/r"


def config(methods: list[str], **run: Any) -> dict[str, Any]:
    """Return a config of one run on data of the hub: 100 rows, 5 noised copies, 84 of them training samples."""
    settings: dict[str, Any] = {
        "model": "m",
        "queries": {"per_subset": 3},
        "gradients": {"cache_dim": 256, "shard_size": 50, "keep_raw": True, "block_dim": 32},
        "influence": {"methods": methods, "widths": [256, 64], "top_k": 10, "options": {"journey_steps": 7}},
        "evaluation": {"k": [5]},
    }
    sources = [{"name": name, "path": f"owner/{name}", "rows": 50} for name in ("red", "blue")]
    return {
        "datasets": {"d": {"sources": sources}},
        "bases": {"b": {"path": "owner/base"}},
        "models": {"m": {"dataset": "d", "base": "b", "train": {"checkpoints": [800, 400]}}},
        "banks": {"k": {"model": "m", "subsets": 10, "seeds": 2, "per_job": 5, "exclude": [2, 9]}},
        "runs": {"r": settings | run},
    }


def tables(methods: list[str], **run: Any) -> Tables:
    """Return the tables of such a config."""
    return read_tables(config(methods, **run), PROJECT)
