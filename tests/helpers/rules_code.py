"""The workflow's config code, run on a config without Snakemake."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from checkout import PROJECT

MODULES = [
    compile((PROJECT / "rules" / f"{name}.smk").read_text(), name, "exec")
    for name in ("common", "methods", "results", "removed", "planned", "run_validation", "validation")
]


def load(config: dict[str, Any]) -> dict[str, Any]:
    """Run the workflow's config code, which is Python without rules, on a config; return its names."""
    names: dict[str, Any] = {
        "config": config,
        "workflow": SimpleNamespace(
            current_basedir=PROJECT / "rules",
            pathvars=SimpleNamespace(apply=lambda path: path.replace("<results>", "results")),
        ),
        "WorkflowError": RuntimeError,
    }
    for module in MODULES:
        exec(module, names)
    return names
