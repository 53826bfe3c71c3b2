"""How estimators of contributions are named and drawn, the same in every figure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Literal

import pandas as pd

from dmin.catalogue.aggregates import AGGREGATES
from dmin.catalogue.estimators import BASELINES, ESTIMATORS
from dmin.figures.colours import INK, MUTED
from dmin.figures.methods import LINES, Dashes, MethodStyle, method_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

# How members were trained, in words and in dashes.
TRAINER_NAMES: Mapping[str, str] = {
    "sparsified": "pruned, then fine-tuned", "unlearn": "fine-tuned", "retrain": "retrained",
}  # fmt: skip
TRAINER_DASHES: Mapping[str, Dashes] = {
    "sparsified": LINES["solid"], "unlearn": LINES["dashdot"], "retrain": LINES["dotted"],
}  # fmt: skip
_SIZE = MethodStyle("Number of samples", "#8A7A1E", "P", LINES["dotted"])


def estimator_style(name: str) -> MethodStyle:
    """Return the style of an estimator or baseline; a local method keeps its own, with its aggregate in the label."""
    if name == "size":
        return _SIZE
    if name in ESTIMATORS:
        entry = ESTIMATORS[name]
        colour, marker, line = entry.look or ("#8F4470", "h", "dashdot")
        label = entry.label if entry.label != entry.name else entry.name.replace("_", " ")
        return MethodStyle(label, colour, marker, LINES[line])
    method, _, how = name.rpartition("_")
    if how in AGGREGATES and method:
        style = method_style(method)
        return MethodStyle(f"{style.label}, {how}", style.colour, style.marker, style.dashes)
    return method_style(name)


def order_estimators(names: Iterable[str]) -> list[str]:
    """Sort names: exact values, Shapley estimators, other estimators, baselines."""

    def key(name: str) -> tuple[bool, bool, bool, str]:
        entry = ESTIMATORS.get(name)
        return entry is None, not name.startswith("exact_"), not (entry and entry.efficient), name

    return sorted(names, key=key)


def shown_baselines(table: pd.DataFrame, column: str) -> list[str]:
    """Return the baselines that a figure shows: chance, size, and the local method of the largest mean of a column."""
    local = table[~table["estimator"].isin([*ESTIMATORS, *BASELINES])]
    best = local.groupby("estimator")[column].mean().sort_values(ascending=False, kind="stable").index[:1]
    return [name for name in (*BASELINES, *best) if name in set(table["estimator"])]


def trainer_line(trainer: str) -> tuple[float, Dashes] | Literal["solid"]:
    """Return how lines on the members of a trainer are drawn, as matplotlib's ``linestyle``."""
    dashes = TRAINER_DASHES.get(trainer, ())
    return (0.0, dashes) if dashes else "solid"


def trainer_handles(trainers: Collection[str]) -> list[Line2D]:
    """Return entries of a legend that tell lines of these trainers apart."""
    from matplotlib.lines import Line2D  # here, so that pages start without it

    return [
        Line2D([], [], color=INK, linestyle=trainer_line(name), label=f"members {words}")
        for name, words in TRAINER_NAMES.items()
        if name in trainers
    ]


def shown_behaviours(names: Iterable[str], most: int) -> list[str]:
    """Return the behaviours that a figure shows: of very many those first that are no part of another, by name."""
    return sorted(sorted(set(names), key=lambda name: ("/" in name, name))[:most])


def behaviour_label(name: str) -> str:
    """Return a behaviour's name as text, that of a part after a colon."""
    return name.replace("_", " ").replace("/", ": ")


def draw_level(panel: Axes, name: str, value: float) -> None:
    """Draw a baseline, which no number of coalitions changes, as a level line."""
    style = estimator_style(name)
    panel.axhline(value, color=style.colour, linewidth=1.0, linestyle=style.level, alpha=0.9, zorder=1)


def draw_limit(panel: Axes, value: float) -> None:
    """Draw what could be reached at best."""
    panel.axhline(value, color=MUTED, linewidth=0.9, dashes=(4, 2), zorder=1)
