"""How few training images fill the ranked lists of each method."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dmin.figures.colours import MUTED
from dmin.figures.dots import label_lines
from dmin.figures.methods import method_style, order_methods, width_shade
from dmin.figures.panels import Panels
from dmin.figures.style import house_style
from dmin.figures.tables import require_table, width_label, width_order

_COLUMNS = ("method", "v", "k", "measure", "value", "low", "high", "train")
_TITLES: Mapping[str, str] = {
    "unique_ratio": "Unique ratio",
    "hubs": "Hubs (in 10 % of lists)",
    "max_count": "Lists with the top hub",
    "gini": "Gini of occurrences",
}


@house_style
def plot_hubness(table: pd.DataFrame) -> Figure:
    """Draw each measure at one k: a panel per measure, a line of dots per method, a dot per width.

    The k is the largest that is at most a hundredth of the training set, or the smallest where none is: at a tenth of
    it, chance alone would make every other image a hub.

    Args:
        table: columns ``method, v, k, measure, value, low, high, train``.

    Raises:
        UserError: the table is empty or lacks a column.
    """
    table = require_table(table, _COLUMNS, "hubness")
    k = _shown_k({int(k) for k in table["k"]}, int(table["train"].max()))
    table = table[table["k"] == k]
    methods = order_methods(table["method"].unique())
    widths = sorted({*table["v"]} - {""}, key=width_order)
    panels = Panels(len(_TITLES), len(_TITLES), 2.3, 0.6 + 0.34 * len(methods))
    for panel, (measure, title) in zip(panels.axes, _TITLES.items(), strict=True):
        for row, method in enumerate(methods):
            part = table[(table["method"] == method) & (table["measure"] == measure)]
            for _, entry in part.iterrows():
                shift = 0.0 if entry["v"] == "" else _shift(widths.index(entry["v"]), len(widths))
                colour = _shade(method, str(entry["v"]), widths)
                panel.plot([entry["low"], entry["high"]], [row + shift] * 2, color=colour, linewidth=1.2)
                marker = method_style(method).marker
                # Unclipped, because zero hubs lie on the edge.
                panel.plot([entry["value"]], [row + shift], marker=marker, color=colour, clip_on=False, zorder=3)
        panel.set_title(title)
        panel.set_xlim(left=0)
        panel.grid(visible=True, axis="x")
        panel.grid(visible=False, axis="y")
        panel.margins(x=0.08)
    label_lines(panels.axes[0], [method_style(name).label for name in methods])
    panels.label(x=f"k = {k}")
    if len(widths) > 1:
        handles = [
            Line2D([], [], color=width_shade(MUTED, index, len(widths)), marker="o", label=width_label(width))
            for index, width in enumerate(widths)
        ]
        panels.legend(handles, columns=5)
    return panels.figure


def _shown_k(ks: set[int], train: int) -> int:
    return max((k for k in ks if 100 * k <= train), default=min(ks))


def _shift(index: int, count: int) -> float:
    return 0.0 if count == 1 else 0.6 * (index / (count - 1) - 0.5)


def _shade(method: str, width: str, widths: list[str]) -> str:
    colour = method_style(method).colour
    return colour if width == "" else width_shade(colour, widths.index(width), len(widths))
