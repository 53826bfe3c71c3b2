"""Two yardsticks side by side: what retraining would have done, and where an image came from."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.figure import Figure

from dmin.figures.colours import INK, MUTED
from dmin.figures.dots import draw_dots, label_lines
from dmin.figures.methods import method_style, order_methods
from dmin.figures.panels import Panels
from dmin.figures.style import house_style
from dmin.figures.tables import FULL, exact_means, require_table, width_label, width_order

_LDS = ("method", "v", "query_set", "lds", "low", "high", "ceiling")
_DETECTION = ("method", "v", "backend", "subset", "k", "rate", "low", "high", "chance")


@house_style
def plot_yardsticks(lds: pd.DataFrame, detection: pd.DataFrame) -> Figure:
    """Draw LDS and the detection rate at the smallest k with their intervals, a row per method and width.

    Rows are sorted by LDS. The dashed line is the noise ceiling of LDS, where there are two seeds, and the chance of
    the detection rate; the thin line is zero.

    Args:
        lds: columns ``method, v, query_set, lds, low, high, ceiling``.
        detection: columns ``method, v, backend, subset, k, rate, low, high, chance``.

    Raises:
        UserError: a table is empty or lacks a column.
    """
    lds = require_table(lds, _LDS, "LDS")
    detection = require_table(detection, _DETECTION, "detection-rate")
    k = int(detection["k"].min())
    detection = exact_means(detection)
    place = {name: number for number, name in enumerate(order_methods(lds["method"].unique()))}
    order = lds.assign(place=lds["method"].map(place), width=lds["v"].map(width_order))
    order = order.sort_values(["lds", "place", "width"], ascending=[False, True, True])
    rows = [(str(method), str(v)) for method, v in zip(order["method"], order["v"], strict=True)]
    panels = Panels(2, 2, 3.6, 0.9 + 0.2 * len(rows))
    for panel, table, column in zip(panels.axes, (lds, detection), ("lds", "rate"), strict=True):
        found = {(str(row["method"]), str(row["v"])): row for _, row in table.iterrows()}
        draw_dots(panel, [(method, found.get((method, v))) for method, v in rows], column)
    query_set = str(lds["query_set"].iloc[0]).replace("_", " ")
    panels.axes[0].set_title(f"LDS, {query_set} queries")
    panels.axes[1].set_title(f"Detection rate, top {k}")
    ceiling = float(lds["ceiling"].iloc[0])
    if not math.isnan(ceiling):
        panels.axes[0].axvline(ceiling, color=MUTED, linewidth=0.9, dashes=(4, 2))
    panels.axes[0].axvline(0, color=INK, linewidth=0.7)
    panels.axes[1].axvline(float(detection["chance"].mean()), color=MUTED, linewidth=0.9, dashes=(4, 2))
    panels.axes[1].set_xlim(0, 1.02)
    label_lines(panels.axes[0], [_label(method, v) for method, v in rows])
    panels.axes[0].set_xlabel("Spearman's rho; dashed: ceiling")
    panels.axes[1].set_xlabel("share of own subset; dashed: chance")
    return panels.figure


def _label(method: str, v: str) -> str:
    name = method_style(method).label
    return name if v == "" else f"{name}, {'full' if v == FULL else width_label(v)}"
