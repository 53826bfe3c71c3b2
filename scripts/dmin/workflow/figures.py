"""The figures and the explorer of a run: which there are, and what they show."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ..runtime.attributed import WITH_TEXT
from .games import Game
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
    # With a bank it takes retraining, which only the target of the LDS does.
    names += ["risk_coverage"] if run.tells_risk and run.lds is None else []
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
    return {label: run.influence.top(*pair) for label, pair in _labelled(run).items()}


def labelled_scores(run: Run) -> dict[str, str]:
    """Return the scores that these lists are the highest of, by label."""
    return {label: run.influence.scores(*pair) for label, pair in _labelled(run).items()}


def _labelled(run: Run) -> dict[str, tuple[str, str]]:
    return {
        f"{method}, v={v}" if v else method: (method, v)
        for method, v in run.influence.scored
        if v in (run.influence.shown_width(method), "full")
    }


def explored(run: Run, games: Iterable[Game]) -> dict[str, Any]:
    """Return what the explorer shows beside rankings, by role, of what the run has.

    The gradients of its first method on gradients, for the map; features and issues, of an audit; influence maps; whose
    the training images are, and what contributors gave, of the games that name the run.
    """
    files: dict[str, Any] = {}
    influence = run.influence
    if influence.gradient_methods:
        method = influence.gradient_methods[0]
        for role, split in (("train", "train"), ("asked", "queries")):
            files[f"{role}_sketch"] = influence.gradients_at(method, influence.shown_width(method), split)
            files[f"{role}_shards"] = influence.shards(method, split)
    if "audit" in run.settings:
        files["features"] = run.audit.features("train")
        files["issues"] = f"{run.audit.folder}/audit.csv"
        files["measured"] = f"{run.audit.folder}/samples.csv"
    if "maps" in run.settings:
        files["parts"] = run.maps.table
    asked = explored_games(run, games)
    if asked:
        files["players"] = [game.players for game in asked]
    shown = [game.table("contributions") for game in asked if game.settings["in_explorer"]]
    if shown:
        files["contributions"] = shown
    return files


def explored_games(run: Run, games: Iterable[Game]) -> list[Game]:
    """Return the games whose contributors the explorer of a run shows: those that name it."""
    return [game for game in games if game.settings["run"] == run.name]


def told_games(run: Run, games: Iterable[Game]) -> list[dict[str, Any]]:
    """Return what the explorer must know of these games beside their files."""
    return [
        {"game": game.name, "behaviours": game.settings["behaviours"], "measured": game.settings["in_explorer"]}
        for game in explored_games(run, games)
    ]


def explorer_notes(run: Run) -> dict[str, Any]:
    """Return what a reader of the explorer must know about a run."""
    gradients = run.gradients
    return {
        "Model": run.model.name,
        "Parameters": _parameters(run),
        "Timesteps": f"{gradients.timestep_count}, grid {gradients.settings['timesteps']['grid']}",
        "Noise": gradients.settings["noise"]["policy"],
        "Training images": str(gradients.count("train")),
    }


def _parameters(run: Run) -> str:
    """Return which parameters are attributed, and which are not although they are applied."""
    selection, values = run.gradients.settings["parameters"], run.model.text_values
    if selection == WITH_TEXT or values == 0:
        return selection
    told = "what the adapter may have" if values is None else f"the adapter's {values:,} values"
    return f"{selection}; {told} in text encoders: applied, not attributed"
