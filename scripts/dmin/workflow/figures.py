"""The figures and the explorer of a run: which there are, and what they show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .runs import Run


def figure_files(report: Callable[..., str], name: str, caption: str, category: str, **labels: str) -> list[str]:
    """Return the SVG and the PNG of a figure of a run, or of a game where the labels name one.

    ``report``, Snakemake's, has the SVG in the report.
    """
    folder = "<game>/figures" if "game" in labels else "<run>/figures"
    shown = report(f"{folder}/{name}.svg", caption=f"../report/{caption}.rst", category=category, labels=labels)
    return [shown, f"{folder}/{name}.png"]


def drawn_figures(run: Run) -> list[str]:
    """Return the names of the figures that a run always has."""
    methods = run.influence.gradient_methods
    shown = {method: f"{method}-v{run.influence.shown_width(method)}" for method in methods}
    names = ["detection_by_k", "detection_by_v"] if run.queries.subsets_known else []
    names.append("gradient_norms")
    # The training of a user's own model is not known.
    names += [] if run.model.settings["weights"] else ["training"]
    names.append("queries")
    names += ["retrieval"] if run.influence.backends else []
    names += [f"scores/{shown[method]}" for method in methods]
    # What is selected may lack a subset.
    subsets = run.queries.subsets if run.queries.kind != "selected" else []
    return names + [f"gallery/{shown[method]}/{subset}" for method in methods[:1] for subset in subsets]


def comparing_figures(run: Run) -> list[str]:
    """Return the names of the figures that set a run's methods side by side."""
    names = ["main_table", "main_table_subsets"] if run.queries.subsets_known else []
    return [*names, "rank_agreement", *(f"methods/{subset}" for subset in run.queries.subsets)]


def labelled_tops(run: Run) -> dict[str, str]:
    """Return the ranked lists that the explorer shows, by label: those whose pictures are shown, and uncompressed."""
    labelled = {}
    for method, v in run.influence.scored:
        if v in (run.influence.shown_width(method), "full"):
            labelled[f"{method}, v={v}" if v else method] = run.influence.top(method, v)
    return labelled


def explorer_notes(run: Run) -> dict[str, Any]:
    """Return what a reader of the explorer must know about a run."""
    gradients = run.gradients
    return {
        "Model": run.model.name,
        "Parameters": gradients.settings["parameters"],
        "Timesteps": f"{gradients.timestep_count}, grid {gradients.settings['timesteps']['grid']}",
        "Noise": gradients.settings["noise"]["policy"],
        "Training images": str(gradients.count("train")),
    }
