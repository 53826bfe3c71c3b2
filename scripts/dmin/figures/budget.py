"""What every method achieves with the bytes that it keeps of a training image."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dmin.figures.colours import INK, MUTED
from dmin.figures.methods import method_style, order_methods
from dmin.figures.panels import Panels
from dmin.figures.style import house_style
from dmin.figures.tables import exact_means, require_table, storage_label

_COMPRESSION = (
    "method", "v", "storage", "k", "rate", "low", "high", "lds", "lds_low", "lds_high", "lds_ceiling",
    "bytes_per_sample",
)  # fmt: skip
_POINT = ("value", "low", "high")
_DODGE = 0.02


@house_style
def plot_budget(
    compression: pd.DataFrame, detection: pd.DataFrame, cost: pd.DataFrame, lds: pd.DataFrame | None = None
) -> Figure:
    """Draw LDS, where the run has one, and the detection rate at the smallest k over bytes per training image.

    A column per number format; a line per method joins its widths, with the interval of every point (moved aside a
    little, so that they do not cover each other). Hollow markers are methods at bytes of their own: uncompressed, or
    of a sketch that does not fold. A level line is a method that keeps nothing. The dashed line is the noise ceiling of
    LDS, and chance of the detection rate.

    Args:
        compression: the compression ablation.
        detection: the detection-rate table; ``cost``: the cost summary, which gives bytes by method and width.
        lds: the LDS table.

    Raises:
        UserError: a table is empty or lacks a column.
    """
    table = require_table(compression, _COMPRESSION, "compression")
    table = table[table["k"] == table["k"].min()]
    rates = require_table(detection, ("method", "v", "backend", "subset", "k", "rate", "low", "high"), "detection-rate")
    rates = exact_means(rates)
    rows = [("Detection rate", table, ("rate", "low", "high"), rates, float(rates["chance"].mean()))]
    if lds is not None:
        judged = require_table(lds, ("method", "v", "lds", "low", "high"), "LDS")
        ceiling = float(table["lds_ceiling"].iloc[0])
        rows.insert(0, ("LDS", table, ("lds", "lds_low", "lds_high"), judged, ceiling))
    storages = [name for name in ("one_bit", "int4", "int8", "fp16", "fp32") if name in {*table["storage"]}]
    panels = Panels(len(rows) * len(storages), len(storages), 3.5, 3.0, sharey="row")
    methods: set[str] = set()
    for row, (name, sketched, columns, whole, level) in enumerate(rows):
        others = _elsewhere(whole.rename(columns={columns[0]: "value"}), sketched, cost)
        sketched = sketched[[*columns, "method", "storage", "bytes_per_sample"]]
        sketched = sketched.rename(columns=dict(zip(columns, _POINT, strict=True)))
        methods |= {*sketched["method"], *others["method"]}
        for column, storage in enumerate(storages):
            panel = panels.axes[row * len(storages) + column]
            panel.set_title(f"{name}, {storage_label(storage)}")
            panel.set_xscale("log")
            _draw_level(panel, level)
            _draw_sketched(panel, sketched[sketched["storage"] == storage])
            _draw_elsewhere(panel, others)
    panels.label(x="Bytes per training image")
    panels.legend([method_style(method).handle(markersize=3.6) for method in order_methods(methods)], columns=4)
    return panels.figure


def _elsewhere(whole: pd.DataFrame, sketched: pd.DataFrame, cost: pd.DataFrame) -> pd.DataFrame:
    """Return the methods and widths that the compression ablation leaves out, with their bytes."""
    sizes = require_table(cost, ("method", "v", "backend", "bytes_per_sample"), "cost-summary")
    sizes = sizes[sizes["backend"] == "exact"]
    points = whole[["method", "v", *_POINT]].merge(sizes[["method", "v", "bytes_per_sample"]], on=["method", "v"])
    return points[~points["method"].isin(sketched["method"]) | (points["v"] == "full")]


def _draw_level(panel: Axes, level: float) -> None:
    panel.axhline(0, color=INK, linewidth=0.7)
    if pd.notna(level):
        panel.axhline(level, color=MUTED, linewidth=0.9, dashes=(4, 2))


def _draw_sketched(panel: Axes, table: pd.DataFrame) -> None:
    methods = order_methods(table["method"].unique())
    for number, method in enumerate(methods):
        rows, style = table[table["method"] == method].sort_values("bytes_per_sample"), method_style(method)
        places = rows["bytes_per_sample"] * (1 + _DODGE * (number - len(methods) / 2))
        panel.plot(
            places, rows["value"], color=style.colour, marker=style.marker, markersize=3.6, linewidth=1.2,
            linestyle=style.line, zorder=3,
        )  # fmt: skip
        panel.vlines(places, rows["low"], rows["high"], color=style.colour, linewidth=0.7, alpha=0.5)


def _draw_elsewhere(panel: Axes, table: pd.DataFrame) -> None:
    for _, row in table.iterrows():
        style = method_style(str(row["method"]))
        if row["bytes_per_sample"] == 0:
            panel.axhline(row["value"], color=style.colour, linewidth=1.1, linestyle=style.level)
            panel.axhspan(row["low"], row["high"], color=style.colour, alpha=0.06, linewidth=0)
            continue
        panel.plot(
            [row["bytes_per_sample"]], [row["value"]], color=style.colour, marker=style.marker, markerfacecolor="white",
            linestyle="", markersize=4.2, zorder=3,
        )  # fmt: skip
        panel.vlines(row["bytes_per_sample"], row["low"], row["high"], color=style.colour, linewidth=0.7, alpha=0.5)
