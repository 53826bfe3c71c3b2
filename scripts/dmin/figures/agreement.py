"""A heat map of how far methods agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from dmin.figures.colours import FAINT, MUTED
from dmin.figures.methods import method_style
from dmin.figures.style import house_style
from dmin.figures.tables import require_table

_CELL, _HEAD, _BAR = 0.42, 0.72, 0.95
# The width that the heading needs, and that of a letter of a label.
_LEAST, _LETTER = 3.9, 0.068
# Correlations of what has nothing in common are about as large.
_CHANCE = 0.05


@house_style
def plot_agreement(table: pd.DataFrame) -> Figure:
    """Draw the rank correlation between methods; methods that agree stand side by side.

    The order is that of an average-linkage clustering with distance ``1 - correlation``.

    Args:
        table: columns ``method, other, spearman``.

    Raises:
        UserError: the table is empty or lacks a column.
    """
    table = require_table(table, ("method", "other", "spearman"), "rank-agreement")
    matrix = table.pivot(index="method", columns="other", values="spearman")
    matrix = matrix.loc[matrix.columns]
    order = [matrix.columns[place] for place in _order(matrix.to_numpy(dtype=float))]
    shown = matrix.loc[order, order].to_numpy(dtype=float, copy=True)
    labels = [method_style(name).label for name in order]
    # Every method agrees with itself, which says nothing and would take the scale.
    np.fill_diagonal(shown, np.nan)
    side, names = _CELL * len(order), _longest(labels)
    width = max(names + side + _BAR, _LEAST)
    height = _HEAD + side + names
    figure = Figure(figsize=(width, height))
    panel = figure.add_axes((names / width, names / height, side / width, side / height))
    bar = figure.add_axes(((names + side + 0.25) / width, names / height, 0.13 / width, side / height))
    _draw_cells(panel, bar, pd.DataFrame(shown, labels, labels))
    bar.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    figure.text(0.12 / width, 1 - 0.16 / height, "Agreement of methods", size=11, weight="bold", va="top")
    note = "Spearman correlation of scores, mean over queries"
    figure.text(0.12 / width, 1 - 0.4 / height, note, size=7.5, color=MUTED, va="top")
    return figure


def _draw_cells(panel: Axes, bar: Axes, shown: pd.DataFrame) -> None:
    """Fill a panel with the values ``[n, n]``, each in figures on its colour, and a bar with the colours."""
    sns.heatmap(
        shown,
        ax=panel,
        cbar_ax=bar,
        linewidths=0.6,
        linecolor="white",
        annot=shown.map(_number),
        fmt="",
        annot_kws={"size": 6.5, "parse_math": False},
        xticklabels=True,
        yticklabels=True,
        **_scale(shown.to_numpy()),
    )
    panel.set(facecolor=FAINT, xlabel="", ylabel="")
    panel.tick_params(axis="x", rotation=90, length=0)
    panel.tick_params(axis="y", rotation=0, length=0)
    for axes in (panel, bar):
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)


def _scale(shown: np.ndarray) -> dict[str, Any]:
    """Return colours over the range of the values: around 0 where some are below it, else from 0 up."""
    largest = float(np.nanmax(np.abs(shown), initial=0)) or 1.0
    # Chance leaves correlations of either sign.
    if np.nanmin(shown, initial=0) < -_CHANCE:
        return {"cmap": "RdBu_r", "vmin": -largest, "vmax": largest}
    return {"cmap": "Blues", "vmin": 0, "vmax": max(largest, _CHANCE)}


def _longest(labels: Sequence[str]) -> float:
    """Return the inches that the longest label takes."""
    return 0.2 + max(map(len, labels)) * _LETTER


def _order(matrix: np.ndarray) -> list[int]:
    if len(matrix) < 3:
        return list(range(len(matrix)))
    # A method without an order agrees with none.
    distance = 1 - np.nan_to_num((matrix + matrix.T) / 2)
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(np.clip(distance, 0, 2), checks=False), "average", optimal_ordering=True)
    return [int(place) for place in leaves_list(tree)]


def _number(value: float) -> str:
    if np.isnan(value):
        return ""
    text = f"{abs(value):.2f}"
    text = text.removeprefix("0") if text.startswith("0") else text
    return f"\N{MINUS SIGN}{text}" if value <= -0.005 else text
