"""The paper's main table as a figure: detection rate of every method, subset and k."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from dmin.attribution.settings import EFFICIENTNET, encoder_name
from dmin.catalogue.methods import METHODS
from dmin.figures.canvas import Canvas, Place, wrap_caption
from dmin.figures.colours import FAINT, INK, MEAN, MUTED, order_subsets
from dmin.figures.methods import method_style, order_methods
from dmin.figures.style import house_style
from dmin.figures.tables import FULL, require_table, shown_widths, width_order
from dmin.runtime.errors import UserError

_COLUMNS = ("method", "v", "backend", "subset", "k", "rate", "low", "high", "chance")
EXACT, HELD_OUT = "exact", "held_out"
_CELL = 0.56
_ROW = 0.34
_GAP = 0.12
_NAMES = 2.85
_MARGIN = 0.2
_TITLE, _HEAD, _FOOT = 0.66, 0.42, 0.16
# Subsets beside each other, so that a page holds them; and the width that the heading needs.
_BESIDE, _LEAST = 3, 4.4
# Method, width and backend.
Row = tuple[str, str, str]


@house_style
def plot_main_table(table: pd.DataFrame, labels: Mapping[str, str] | None = None) -> Figure:
    """Draw exact detection rates, the mean over subsets: a row per method and width, a column per k.

    A kernel method has a second row below, at the lambda chosen on other queries.

    The darker a cell, the higher the rate; below each rate stands its interval, the best of a column is bold. A method
    with several widths has a row for its uncompressed gradients, if there, and one for its largest width of at most
    4,096, or its smallest.

    Args:
        table: columns ``method, v, backend, subset, k, rate, low, high, chance``.
        labels: names of rows, by method, for methods whose options change what they are; see :func:`encoder_labels`.

    Raises:
        UserError: the table is empty, lacks a column, or has no mean over subsets.
    """
    return _Table.of(table, labels or {}, lambda subset: subset == MEAN).draw("Detection rate, mean over subsets")


@house_style
def plot_subset_table(table: pd.DataFrame, labels: Mapping[str, str] | None = None) -> Figure:
    """Draw exact detection rates by subset as :func:`plot_main_table` does, three subsets beside each other.

    Raises:
        UserError: the table is empty, lacks a column, or has no subset.
    """
    return _Table.of(table, labels or {}, lambda subset: subset != MEAN).draw("Detection rate by subset")


def encoder_labels(encoder: str) -> dict[str, str]:
    """Return the row names of methods that embed images, where their encoder is not CLIP: that encoder's name."""
    if encoder != EFFICIENTNET:
        return {}
    return {name: encoder_name(encoder) for name, entry in METHODS.items() if "encoder" in entry.options}


@dataclass(frozen=True)
class _Table:
    """Detection rates, with the groups of columns that are drawn and the rows."""

    table: pd.DataFrame
    labels: Mapping[str, str]
    subsets: list[str]
    rows: list[Row]

    @classmethod
    def of(cls, table: pd.DataFrame, labels: Mapping[str, str], shown: Callable[[str], bool]) -> _Table:
        table = require_table(table, _COLUMNS, "detection-rate")
        table = table[table["backend"].isin([EXACT, HELD_OUT])]
        subsets = [subset for subset in order_subsets(table["subset"]) if shown(subset)]
        if not subsets:
            raise UserError("The detection-rate table lacks the subsets that this figure shows; make it again.")
        return cls(table[table["subset"].isin(subsets)], labels, subsets, _rows(table))

    @property
    def cutoffs(self) -> list[int]:
        return sorted({int(k) for k in self.table["k"]})

    def draw(self, title: str) -> Figure:
        group = len(self.cutoffs) * _CELL + _GAP
        side = min(_BESIDE, len(self.subsets))
        bands = [self.subsets[first : first + side] for first in range(0, len(self.subsets), side)]
        band = _HEAD + (len(self.rows) + 1) * _ROW + _FOOT
        width = max(2 * _MARGIN + _NAMES + side * group, _LEAST)
        # The mean needs no name above its columns.
        first = _TITLE - (0.2 if self.subsets == [MEAN] else 0)
        canvas = Canvas(width, first + len(bands) * band)
        canvas.text(title, (_MARGIN, 0.16), size=11, bold=True)
        canvas.text("with intervals; the best of a column is bold", (_MARGIN, 0.38), size=7.5, colour=MUTED)
        for number, names in enumerate(bands):
            top = first + number * band
            for place, subset in enumerate(names):
                self._draw_group(canvas, subset, (_MARGIN + _NAMES + place * group, top))
            self._name_rows(canvas, top + _HEAD, _NAMES + len(names) * group)
        return canvas.figure

    def _draw_group(self, canvas: Canvas, subset: str, at: Place) -> None:
        """Draw the columns of a subset, headed by its name."""
        left, top = at
        part = self.table[self.table["subset"] == subset]
        if subset != MEAN:
            name = wrap_caption(subset, len(self.cutoffs) * _CELL - 0.1, 8.5, 1)
            canvas.text(name, (left, top), size=8.5, bold=True)
        best = part.groupby("k")["rate"].max()
        keys = zip(part["method"], part["v"], part["backend"], part["k"], strict=True)
        cells = dict(zip([(*map(str, key[:3]), int(key[3])) for key in keys], part.to_dict("records"), strict=True))
        for index, k in enumerate(self.cutoffs):
            centre = left + (index + 0.5) * _CELL
            canvas.text(f"top {k}", (centre, top + 0.22), size=7, colour=MUTED, align="center")
            for line, entry in enumerate(self.rows):
                row = cells[*entry, k]
                _draw_cell(canvas, row, (centre, top + _HEAD + line * _ROW), bool(row["rate"] == best[k]))
            chance = float(part.loc[part["k"] == k, "chance"].iloc[0])
            foot = top + _HEAD + len(self.rows) * _ROW + 0.1
            canvas.text(_rate(chance), (centre, foot), size=7, colour=MUTED, align="center")

    def _name_rows(self, canvas: Canvas, top: float, width: float) -> None:
        for line, (method, v, backend) in enumerate(self.rows):
            name = self.labels.get(method, method_style(method).label)
            name = f"{name}, lambda chosen" if backend == HELD_OUT else name
            at = top + line * _ROW
            label = "" if v == "" else "full" if v == FULL else f"v={int(v):,}"
            room = _NAMES - 0.2 - (0.55 if label else 0)
            canvas.text(wrap_caption(name, room, 8, 1), (_MARGIN, at + 0.09), size=8)
            canvas.text(label, (_MARGIN + _NAMES - 0.12, at + 0.1), size=7, colour=MUTED, align="right")
        foot = top + len(self.rows) * _ROW
        canvas.bar((_MARGIN, foot + 0.03), width, 0.008, FAINT)
        canvas.text("Chance", (_MARGIN, foot + 0.09), size=8, colour=MUTED)


def _rows(table: pd.DataFrame) -> list[Row]:
    rows, known = [], {*zip(table["method"], table["v"], table["backend"], strict=True)}
    for method in order_methods(table["method"].unique()):
        widths = sorted({*table.loc[table["method"] == method, "v"]}, key=width_order)
        listed = [width for width in widths if width in shown_widths(widths) or not width.isdigit()]
        rows += [(method, width, backend) for width in listed for backend in (EXACT, HELD_OUT)]
    return [row for row in rows if row in known]


def _draw_cell(canvas: Canvas, row: Mapping[Any, Any], at: Place, best: bool) -> None:
    (centre, top), rate = at, float(row["rate"])
    colour = matplotlib.colors.to_hex(matplotlib.colormaps["Blues"](0.78 * rate))
    canvas.bar((centre - _CELL / 2 + 0.015, top + 0.015), _CELL - 0.03, _ROW - 0.03, colour)
    ink = "white" if rate > 0.72 else INK
    canvas.text(_rate(rate), (centre, top + 0.045), size=8, colour=ink, bold=best, align="center")
    interval = f"{_rate(float(row['low']))}\N{EN DASH}{_rate(float(row['high']))}"
    canvas.text(interval, (centre, top + 0.195), size=5.4, colour=ink, align="center")


def _rate(value: float) -> str:
    return "1.0" if value > 0.995 else f"{value:.2f}".removeprefix("0")
