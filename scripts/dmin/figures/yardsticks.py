"""Two yardsticks side by side: what retraining would have done, and where an image came from."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dmin.figures.methods import method_style, order_methods
from dmin.figures.panels import Panels
from dmin.figures.style import INK, MEAN, MUTED, house_style
from dmin.figures.tables import FULL, require_table, width_label, width_order

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
    detection = detection[
        (detection["backend"] == "exact") & (detection["subset"] == MEAN) & (detection["k"].astype(int) == k)
    ]
    place = {name: number for number, name in enumerate(order_methods({*lds["method"]}))}
    order = lds.assign(place=lds["method"].map(place), width=lds["v"].map(width_order))
    order = order.sort_values(["lds", "place", "width"], ascending=[False, True, True])
    rows = [(str(method), str(v)) for method, v in zip(order["method"], order["v"], strict=True)]
    panels = Panels(2, 2, 3.6, 0.9 + 0.2 * len(rows))
    _draw_points(panels.axes[0], lds.rename(columns={"lds": "value"}), rows)
    _draw_points(panels.axes[1], detection.rename(columns={"rate": "value"}), rows)
    query_set = str(lds["query_set"].iloc[0]).replace("_", " ")
    panels.axes[0].set_title(f"LDS, {query_set} queries")
    panels.axes[1].set_title(f"Detection rate, top {k}")
    ceiling = float(lds["ceiling"].iloc[0])
    if not math.isnan(ceiling):
        panels.axes[0].axvline(ceiling, color=MUTED, linewidth=0.9, dashes=(4, 2))
    panels.axes[0].axvline(0, color=INK, linewidth=0.7)
    panels.axes[1].axvline(float(detection["chance"].mean()), color=MUTED, linewidth=0.9, dashes=(4, 2))
    panels.axes[1].set_xlim(0, 1.02)
    panels.axes[0].set_yticks(range(len(rows)), [_label(method, v) for method, v in rows])
    panels.axes[0].set_ylim(len(rows) - 0.5, -0.5)
    panels.axes[0].set_xlabel("Spearman's rho; dashed: ceiling")
    panels.axes[1].set_xlabel("share of own subset; dashed: chance")
    return panels.figure


def _draw_points(panel: Axes, table: pd.DataFrame, rows: list[tuple[str, str]]) -> None:
    found = {(str(row["method"]), str(row["v"])): row for _, row in table.iterrows()}
    for line, key in enumerate(rows):
        if key not in found:
            continue
        row, style = found[key], method_style(key[0])
        panel.plot([row["low"], row["high"]], [line, line], color=style.colour, linewidth=1.3)
        panel.plot([row["value"]], [line], marker=style.marker, color=style.colour, clip_on=False, zorder=3)
    panel.grid(visible=True, axis="x")
    panel.grid(visible=False, axis="y")


def _label(method: str, v: str) -> str:
    name = method_style(method).label
    return name if v == "" else f"{name}, {'full' if v == FULL else width_label(v)}"
