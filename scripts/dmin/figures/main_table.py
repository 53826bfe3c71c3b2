"""The paper's main table as a figure: detection rate of every method, subset and k."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from dmin.attribution.settings import EFFICIENTNET, encoder_name
from dmin.catalogue.methods import METHODS
from dmin.figures.canvas import Canvas, Place
from dmin.figures.colours import FAINT, INK, MEAN, MUTED, order_subsets
from dmin.figures.methods import method_style, order_methods
from dmin.figures.style import house_style
from dmin.figures.tables import FULL, require_table, width_order

_COLUMNS = ("method", "v", "backend", "subset", "k", "rate", "low", "high", "chance")
EXACT, HELD_OUT = "exact", "held_out"
_CELL = 0.56
_ROW = 0.34
_GAP = 0.12
_NAMES = 2.35
_MARGIN = 0.2
_HEAD = 1.02


@house_style
def plot_main_table(table: pd.DataFrame, labels: Mapping[str, str] | None = None) -> Figure:
    """Draw exact detection rates: a row per method and width, a group of columns per subset, a column per k.

    A kernel method has a second row below, at the lambda chosen on other queries.

    The darker a cell, the higher the rate; below each rate stands its interval, the best of a column is bold. A method
    with several widths has a row for its uncompressed gradients, if there, and one for its largest width of at most
    4,096, or its smallest.

    Args:
        table: columns ``method, v, backend, subset, k, rate, low, high, chance``.
        labels: names of rows, by method, for methods whose options change what they are; see :func:`encoder_labels`.

    Raises:
        UserError: the table is empty or lacks a column.
    """
    table, labels = require_table(table, _COLUMNS, "detection-rate"), labels or {}
    table = table[table["backend"].isin([EXACT, HELD_OUT])]
    subsets, cutoffs = order_subsets(table["subset"]), sorted({int(k) for k in table["k"]})
    rows = _rows(table)
    cells = {
        (*(str(row[name]) for name in ("method", "v", "backend", "subset")), int(row["k"])): row
        for _, row in table.iterrows()
    }
    group = len(cutoffs) * _CELL + _GAP
    width = 2 * _MARGIN + _NAMES + len(subsets) * group
    canvas = Canvas(width, _HEAD + (len(rows) + 1) * _ROW + 0.5)
    canvas.text("Detection rate, with intervals", (_MARGIN, 0.16), size=11, bold=True)
    best = table.groupby(["subset", "k"])["rate"].max()
    for place, subset in enumerate(subsets):
        left = _MARGIN + _NAMES + place * group
        canvas.text("mean over subsets" if subset == MEAN else subset, (left, 0.52), size=8.5, bold=True)
        for index, k in enumerate(cutoffs):
            centre = left + (index + 0.5) * _CELL
            canvas.text(f"top {k}", (centre, 0.74), size=7, colour=MUTED, align="center")
            for line, entry in enumerate(rows):
                top = _HEAD + line * _ROW
                row = cells[*entry, subset, k]
                _draw_cell(canvas, row, (centre, top), bool(row["rate"] == best[subset, k]))
            chance = float(table[(table["subset"] == subset) & (table["k"] == k)]["chance"].iloc[0])
            canvas.text(_rate(chance), (centre, _HEAD + len(rows) * _ROW + 0.1), size=7, colour=MUTED, align="center")
    for line, (method, v, backend) in enumerate(rows):
        top = _HEAD + line * _ROW
        name = labels.get(method, method_style(method).label)
        canvas.text(f"{name}, lambda chosen" if backend == HELD_OUT else name, (_MARGIN, top + 0.09), size=8)
        label = "" if v == "" else "full" if v == FULL else f"v={int(v):,}"
        canvas.text(label, (_MARGIN + _NAMES - 0.12, top + 0.1), size=7, colour=MUTED, align="right")
    canvas.bar((_MARGIN, _HEAD + len(rows) * _ROW + 0.03), width - 2 * _MARGIN, 0.008, FAINT)
    canvas.text("Chance", (_MARGIN, _HEAD + len(rows) * _ROW + 0.09), size=8, colour=MUTED)
    return canvas.figure


def encoder_labels(encoder: str) -> dict[str, str]:
    """Return the row names of methods that embed images, where their encoder is not CLIP: that encoder's name."""
    if encoder != EFFICIENTNET:
        return {}
    return {name: encoder_name(encoder) for name, entry in METHODS.items() if "encoder" in entry.options}


def _rows(table: pd.DataFrame) -> list[tuple[str, str, str]]:
    rows, known = [], {*zip(table["method"], table["v"], table["backend"], strict=True)}
    for method in order_methods(table["method"].unique()):
        widths = sorted({*table.loc[table["method"] == method, "v"]}, key=width_order)
        numbers = [width for width in widths if width.isdigit()]
        below = [width for width in numbers if int(width) <= 4096]
        shown = below[-1:] or numbers[:1]
        listed = [width for width in widths if width in shown or not width.isdigit()]
        rows += [(method, width, backend) for width in listed for backend in (EXACT, HELD_OUT)]
    return [row for row in rows if row in known]


def _draw_cell(canvas: Canvas, row: pd.Series, at: Place, best: bool) -> None:
    (centre, top), rate = at, float(row["rate"])
    colour = matplotlib.colors.to_hex(matplotlib.colormaps["Blues"](0.78 * rate))
    canvas.bar((centre - _CELL / 2 + 0.015, top + 0.015), _CELL - 0.03, _ROW - 0.03, colour)
    ink = "white" if rate > 0.72 else INK
    canvas.text(_rate(rate), (centre, top + 0.045), size=8, colour=ink, bold=best, align="center")
    interval = f"{_rate(float(row['low']))}\N{EN DASH}{_rate(float(row['high']))}"
    canvas.text(interval, (centre, top + 0.195), size=5.4, colour=ink, align="center")


def _rate(value: float) -> str:
    return "1.0" if value > 0.995 else f"{value:.2f}".removeprefix("0")
