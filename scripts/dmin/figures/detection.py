"""Detection rate against k and against the width v."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from dmin.figures.canvas import wrap_caption
from dmin.figures.colours import MEAN, MUTED, order_subsets
from dmin.figures.detection_options import DetectionOptions
from dmin.figures.methods import method_style, order_methods
from dmin.figures.panels import Panels
from dmin.figures.style import house_style
from dmin.figures.tables import FULL, require_table, shown_widths, width_label, width_order
from dmin.runtime.errors import UserError

_COLUMNS = ("method", "v", "backend", "subset", "k", "rate", "low", "high", "chance")
_CHANCE = Line2D([], [], color=MUTED, linestyle=(0, (2, 2)), linewidth=1.0, label="Chance")


@house_style
def plot_detection_by_k(table: pd.DataFrame, options: DetectionOptions | None = None) -> Figure:
    """Draw detection rate against k: a panel per subset with the mean first, a line per method.

    A method is drawn at one width: its largest of at most 4,096, or its smallest, or uncompressed without a number.

    Args:
        table: columns ``method, v, backend, subset, k, rate, low, high, chance``.
        options: what to draw.

    Raises:
        UserError: the table lacks a column or no row passes the options.
    """
    options = options or DetectionOptions()
    table = _select(table, options)
    subsets = order_subsets(table["subset"])
    lines = _lines(table)
    panels = Panels(len(subsets), options.columns, 2.35, 2.15)
    ticks = sorted({int(k) for k in table["k"]})
    # Bands of many lines overlap; fainter ones keep the lines readable.
    band = min(0.15, 1.2 / len(lines))
    for panel, subset in zip(panels.axes, subsets, strict=True):
        part = table[table["subset"] == subset]
        for method, width in lines:
            rows = part[(part["method"] == method) & (part["v"] == width)].sort_values("k")
            if rows.empty:
                continue
            style = method_style(method)
            colour = style.colour
            panel.fill_between(rows["k"], rows["low"], rows["high"], color=colour, alpha=band, linewidth=0)
            panel.plot(
                rows["k"],
                rows["rate"],
                color=colour,
                marker=style.marker,
                linestyle=style.line,
                markeredgecolor="white" if style.marker != "x" else colour,
                markeredgewidth=0.6,
            )
        chance = part.drop_duplicates("k").sort_values("k")
        panel.plot(chance["k"], chance["chance"], color=MUTED, linestyle=(0, (2, 2)), linewidth=1.0)
        panel.set_title("mean over subsets" if subset == MEAN else wrap_caption(subset, 2.1, 10.5, 1))
        panel.set_xscale("log")
        panel.xaxis.set_major_locator(FixedLocator(ticks))
        panel.xaxis.set_minor_locator(NullLocator())
        panel.set_xticklabels([str(tick) for tick in ticks])
        _rate_axis(panel)
    panels.label(x="k (top-ranked training images)", y="Detection rate")
    widths = {width for _, width in lines} - {""}
    title = width_label(widths.pop()) if len(widths) == 1 and len(lines) > 1 else ""
    handles = [_handle(method, "" if title else width) for method, width in lines]
    columns = min(3, len(subsets), options.columns)
    panels.legend([*handles, _CHANCE], columns, f"Compressed to {title}" if title.startswith("v") else title)
    return panels.figure


@house_style
def plot_detection_by_v(table: pd.DataFrame, options: DetectionOptions | None = None) -> Figure:
    """Draw the mean detection rate against the width v: a panel per k, a line per method.

    Widths lie on a log2 axis; the uncompressed rate stands apart at the right with a thin line across the panel. A
    method without widths is a level line.

    Args:
        table: columns ``method, v, backend, subset, k, rate, low, high, chance``.
        options: what to draw.

    Raises:
        UserError: the table lacks a column, no row passes the options, or no row is the mean over subsets.
    """
    options = options or DetectionOptions()
    table = _select(table, options)
    table = table[table["subset"] == MEAN]
    if table.empty:
        raise UserError(
            "The detection-rate table has no rows of subset 'mean', which the figure by v draws; remake it."
        )
    methods = order_methods(table["method"].unique())
    cutoffs = sorted({int(k) for k in table["k"]})
    positions = _positions({*table["v"]})
    left, right = _limits(positions)
    panels = Panels(len(cutoffs), options.columns, 2.45, 2.35)
    for panel, k in zip(panels.axes, cutoffs, strict=True):
        part = table[table["k"] == k]
        panel.axhline(float(part["chance"].iloc[0]), color=MUTED, linestyle=(0, (2, 2)), linewidth=1.0)
        for index, method in enumerate(methods):
            offset = (index - (len(methods) - 1) / 2) * min(0.09, 0.5 / len(methods))
            _draw_widths(panel, part[part["method"] == method], method, positions, offset)
        panel.set_title(f"top {k}")
        panel.set_xlim(left, right)
        panel.xaxis.set_major_locator(FixedLocator(list(positions.values())))
        panel.set_xticklabels([_tick(width) for width in positions])
        _rate_axis(panel)
    panels.label(x="Compressed width v", y="Mean detection rate")
    handles = [method_style(method).handle() for method in methods]
    panels.legend([*handles, _CHANCE], columns=min(4, len(cutoffs), options.columns))
    return panels.figure


def _select(table: pd.DataFrame, options: DetectionOptions) -> pd.DataFrame:
    table = require_table(table, _COLUMNS, "detection-rate")
    keep = table["backend"] == options.backend
    if options.methods:
        keep &= table["method"].isin([*options.methods])
    if options.widths:
        keep &= table["v"].isin([*map(str, options.widths), ""])
    table = table[keep]
    if table.empty:
        raise UserError(
            f"No row of the detection-rate table has backend '{options.backend}', methods "
            f"{[*options.methods] or 'any'} and widths {[*options.widths] or 'any'}; correct the figure's options."
        )
    return table


def _lines(table: pd.DataFrame) -> list[tuple[str, str]]:
    """Return every method of a table with the one width that it is drawn at."""
    lines = []
    for method in order_methods(table["method"].unique()):
        widths = sorted({*table.loc[table["method"] == method, "v"]}, key=width_order)
        lines.append((method, (shown_widths(widths) or widths)[0]))
    return lines


def _handle(method: str, width: str) -> Line2D:
    style = method_style(method)
    return style.handle(label=style.label if width == "" else f"{style.label}, {width_label(width)}")


def _rate_axis(panel: Axes) -> None:
    panel.set_ylim(0, 1.04)
    panel.yaxis.set_major_locator(FixedLocator([0, 0.25, 0.5, 0.75, 1]))
    panel.set_yticklabels(["0", ".25", ".5", ".75", "1"])


def _positions(widths: set[str]) -> dict[str, float]:
    """Place widths at their log2 and the uncompressed one a wider step beyond the last."""
    numbers = sorted((width for width in widths if width.isdigit()), key=int)
    positions = {width: math.log2(int(width)) for width in numbers}
    if FULL in widths:
        steps = np.diff(list(positions.values()))
        step = float(np.median(steps)) if len(steps) else 1.0
        positions[FULL] = max(positions.values(), default=0.0) + 1.3 * step
    return positions


def _limits(positions: dict[str, float]) -> tuple[float, float]:
    if not positions:
        return 0.0, 1.0
    low, high = min(positions.values()), max(positions.values())
    margin = max(0.08 * (high - low), 0.5)
    return low - margin, high + margin


def _tick(width: str) -> str:
    if width == FULL:
        return "full"
    number = int(width)
    return rf"$2^{{{number.bit_length() - 1}}}$" if number & (number - 1) == 0 else str(number)


def _draw_widths(panel: Axes, rows: pd.DataFrame, method: str, positions: dict[str, float], offset: float) -> None:
    """Draw one method: a line through its widths with intervals, the uncompressed point apart."""
    style = method_style(method)
    level = rows[rows["v"] == ""]
    if not level.empty:
        rate = float(level["rate"].iloc[0])
        panel.axhspan(float(level["low"].iloc[0]), float(level["high"].iloc[0]), color=style.colour, alpha=0.1, lw=0)
        panel.axhline(rate, color=style.colour, linestyle=style.line, linewidth=1.3)
    numbers = rows[~rows["v"].isin(["", FULL])]
    numbers = numbers.assign(x=[positions[str(width)] + offset for width in numbers["v"]]).sort_values("x")
    full = rows[rows["v"] == FULL].assign(x=positions.get(FULL, 0.0) + offset)
    panel.plot(numbers["x"], numbers["rate"], color=style.colour, linestyle=style.line)
    if not full.empty:
        panel.axhline(float(full["rate"].iloc[0]), color=style.colour, linewidth=0.7, alpha=0.45)
    for part, hollow in ((numbers, False), (full, True)):
        below, above = part["rate"] - part["low"], part["high"] - part["rate"]
        panel.errorbar(
            part["x"],
            part["rate"],
            yerr=[below.clip(lower=0), above.clip(lower=0)],
            fmt=style.marker,
            color=style.colour,
            markerfacecolor="white" if hollow else style.colour,
            elinewidth=1.0,
            markersize=4.0,
            capsize=2.5,
            zorder=3,
        )
