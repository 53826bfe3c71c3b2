"""What compressed gradients keep, over the bytes that they take."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from dmin.figures.colours import lighten
from dmin.figures.methods import method_style, order_methods
from dmin.figures.panels import Panels
from dmin.figures.style import house_style
from dmin.figures.tables import exact_means, require_table, storage_label

# The method whose widths and formats are lines.
DRAWN = "dmin"
_COLUMNS = ("method", "v", "storage", "k", "rate", "low", "high", "recall", "rmse", "spearman", "bytes_per_sample")
_MARKERS: Mapping[str, str] = {"fp32": "o", "fp16": "s", "int8": "^", "int4": "v", "one_bit": "D"}
_SHADES: Mapping[str, float] = {
    "fp32": 0.55, "fp16": 0.3, "int8": 0.0, "int4": 0.15, "one_bit": 0.45,
}  # fmt: skip


@house_style
def plot_compression(table: pd.DataFrame, detection: pd.DataFrame, cost: pd.DataFrame) -> Figure:
    """Draw detection rate, recall, rank correlation and error over bytes per sample, at the largest k.

    A line per number format joins the widths of DMin. In the first panel the run's other methods stand as points at
    their own bytes, uncompressed DMin as a hollow one, and a method that keeps nothing as a level line.

    Args:
        table: the compression ablation, of which DMin is drawn.
        detection: the detection-rate table; ``cost``: the cost summary, which gives bytes by method and width.

    Raises:
        UserError: a table is empty or lacks a column.
    """
    table = require_table(table, _COLUMNS, "compression")
    table = table[table["method"] == DRAWN]
    points = _references(detection, cost, int(table["k"].max()))
    table = table[table["k"] == table["k"].max()]
    panels = Panels(4, 4, 2.6, 2.5, sharey=False)
    rate, recall, spearman, error = panels.axes
    methods = order_methods(points["method"].unique())
    for method in methods:
        _draw_reference(rate, points[points["method"] == method], method)
    for storage, part in table.groupby("storage", sort=True):
        part = part.sort_values("bytes_per_sample")
        colour, marker = _colour(str(storage)), _MARKERS[str(storage)]
        rate.fill_between(part["bytes_per_sample"], part["low"], part["high"], alpha=0.1, color=colour, lw=0)
        for panel, column in ((rate, "rate"), (recall, "recall"), (spearman, "spearman"), (error, "rmse")):
            rows = part[part[column] > 0] if panel is error else part
            panel.plot(rows["bytes_per_sample"], rows[column], color=colour, marker=marker, markersize=3.8)
    k = int(table["k"].iloc[0])
    titles = (f"Detection rate, k = {k}", f"Recall of top {k}", "Rank correlation", "Score error (RMSE)")
    for panel, title in zip(panels.axes, titles, strict=True):
        panel.set_title(title)
        panel.set_xscale("log")
    rate.set_ylim(0, 1.04)
    if (table["rmse"] > 0).any():
        error.set_yscale("log")
        error.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        error.yaxis.set_major_formatter("{x:g}")
        error.yaxis.set_minor_formatter(NullFormatter())
    panels.label(x="Bytes per training image")
    handles = [
        Line2D([], [], color=_colour(name), marker=_MARKERS[name], label=f"DMin, {storage_label(name)}")
        for name in _MARKERS
        if name in {*table["storage"]}
    ]
    panels.legend([*handles, *(_handle(method, points) for method in methods)], columns=4)
    return panels.figure


def _references(detection: pd.DataFrame, cost: pd.DataFrame, k: int) -> pd.DataFrame:
    """Join rates at ``k`` and bytes of every method and width, but for compressed DMin, which has its own lines."""
    keys = ["method", "v", "backend"]
    rates = require_table(detection, (*keys, "subset", "k", "rate"), "detection-rate")
    rates = exact_means(rates, k)
    sizes = require_table(cost, (*keys, "bytes_per_sample"), "cost-summary")
    points = rates[[*keys, "rate"]].merge(sizes[[*keys, "bytes_per_sample"]], on=keys)
    return points[(points["method"] != DRAWN) | (points["v"] == "full")].sort_values("bytes_per_sample")


def _draw_reference(panel: Axes, rows: pd.DataFrame, method: str) -> None:
    style = method_style(method)
    free, kept = rows[rows["bytes_per_sample"] == 0], rows[rows["bytes_per_sample"] > 0]
    for value in free["rate"]:
        panel.axhline(value, color=style.colour, linewidth=1.1, linestyle=style.level)
    if not kept.empty:
        panel.plot(
            kept["bytes_per_sample"], kept["rate"], color=style.colour, marker=style.marker, markerfacecolor="white",
            linestyle=":", linewidth=0.9, markersize=4.2,
        )  # fmt: skip


def _colour(storage: str) -> str:
    return lighten(method_style(DRAWN).colour, _SHADES[storage])


def _handle(method: str, points: pd.DataFrame) -> Line2D:
    style = method_style(method)
    if (points.loc[points["method"] == method, "bytes_per_sample"] == 0).all():
        return style.handle(linestyle=style.level, marker="")
    label = f"{style.label}, uncompressed" if method == DRAWN else style.label
    return style.handle(markerfacecolor="white", linestyle=":", label=label)
