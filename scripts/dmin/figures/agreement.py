"""A heat map of how far methods agree."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from dmin.figures.colours import FAINT, INK
from dmin.figures.methods import method_style
from dmin.figures.style import house_style
from dmin.figures.tables import require_table

_CELL = 0.42
# Beyond this correlation the colours of cells are too dark for dark text.
_DARK = 0.7


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
    shown = matrix.loc[order, order].to_numpy(dtype=float)
    labels = [method_style(name).label for name in order]
    side = _CELL * len(order)
    figure = Figure(figsize=(side + 3.1, side + 2.0), layout="constrained")
    panel = figure.subplots()
    _draw_cells(panel, shown)
    panel.set_xticks(range(len(order)), labels, rotation=90)
    panel.set_yticks(range(len(order)), labels)
    panel.tick_params(length=0)
    panel.set_title("Do methods agree on which training images matter?", loc="left")
    return figure


def _draw_cells(panel: Axes, values: np.ndarray) -> None:
    """Colour a cell by its value, from -1 to 1, and write it there in an ink that can be read on its colour."""
    edges = np.arange(len(values) + 1) - 0.5
    cells = panel.pcolormesh(
        edges, edges, np.ma.masked_invalid(values), vmin=-1, vmax=1, cmap="RdBu_r", linewidth=0.6, edgecolor="white"
    )
    for (row, column), value in np.ndenumerate(values):
        ink = "white" if abs(value) > _DARK else INK
        panel.text(column, row, _number(value), ha="center", va="center", size=6.5, color=ink)
    panel.set_facecolor(FAINT)
    panel.grid(visible=False)
    panel.spines[:].set_visible(False)
    panel.set_aspect("equal")
    panel.invert_yaxis()
    bar = panel.figure.colorbar(cells, ax=panel, shrink=0.7, label="Spearman correlation of scores, mean over queries")
    bar.outline.set_visible(False)


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
