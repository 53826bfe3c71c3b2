"""A heat map of how far methods agree."""

from __future__ import annotations

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from dmin.figures.methods import method_style
from dmin.figures.style import FAINT, house_style
from dmin.figures.tables import require_table

_CELL = 0.42


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
    shown = matrix.loc[order, order].astype(float)
    labels = [method_style(name).label for name in order]
    side = _CELL * len(order)
    figure = Figure(figsize=(side + 3.1, side + 2.0), layout="constrained")
    panel = figure.subplots()
    sns.heatmap(
        shown,
        ax=panel,
        vmin=-1,
        vmax=1,
        cmap="RdBu_r",
        square=True,
        linewidths=0.6,
        linecolor="white",
        annot=shown.map(_number),
        fmt="",
        annot_kws={"size": 6.5},
        xticklabels=labels,
        yticklabels=labels,
        cbar_kws={"label": "Spearman correlation of scores, mean over queries", "shrink": 0.7},
    )
    panel.set_facecolor(FAINT)
    panel.grid(visible=False)
    panel.set(xlabel="", ylabel="")
    panel.tick_params(axis="x", rotation=90, length=0)
    panel.tick_params(axis="y", rotation=0)
    panel.set_title("Do methods agree on which training images matter?", loc="left")
    return figure


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
