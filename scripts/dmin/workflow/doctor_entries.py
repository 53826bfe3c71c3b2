"""What the doctor examines of a config, whatever is wrong with another part of it."""

from __future__ import annotations

from typing import Any

from .plan_entries import plan_entry
from .tables import Tables
from .values import canonical, pick


def doctor_entries(tables: Tables) -> dict[str, Any]:
    """Return mistakes, data sets, own images, models and the runs that have no mistake."""
    config = tables.config
    own = {
        name: {
            "source": run["queries"]["images"],
            **pick(config["datasets"][config["models"][run["model"]]["dataset"]], "size", "bucket_step"),
        }
        for name, run in config["runs"].items()
        if run["queries"]["images"]
    }
    return canonical(
        {
            "mistakes": list(tables.mistakes),
            "datasets": {
                name: pick(dataset.settings, "sources", "size", "bucket_step", "convert_profiles")
                for name, dataset in tables.datasets.items()
            },
            "images": own,
            "models": {
                name: {
                    **pick(model.settings, "finetune", "lora", "weights", "dataset"),
                    "base": model.base.settings,
                }
                for name, model in tables.models.items()
            },
            "runs": [
                {
                    "run": run.name,
                    "model": run.model.name,
                    "gradients": run.gradients.settings,
                    "plan": plan_entry(tables, run),
                }
                for run in tables.runs.values()
            ],
        }
    )
