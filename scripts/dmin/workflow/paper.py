"""The tables of the paper's sections, each over all runs that have it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from .runs import Run

# Detection rates, time and storage, the ablations, and what else is asked of a run.
SECTIONS: Mapping[str, Callable[[Run], bool]] = {
    "detection_rate": lambda run: run.queries.subsets_known,
    "cost_summary": lambda run: True,
    "retrieval": lambda run: True,
    "hubness": lambda run: True,
    "hnsw_ablation": lambda run: "ablation" in run.settings,
    "compression_ablation": lambda run: "ablation" in run.settings,
    "journey_steps": lambda run: bool(run.influence.journey_steps()),
    "lds": lambda run: run.lds is not None,
}


def paper_runs(section: str, runs: Iterable[Run]) -> list[Run]:
    """Return the runs that have a table of a section."""
    return [run for run in runs if SECTIONS[section](run)]
