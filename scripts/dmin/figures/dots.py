"""Rows of dots, each with its interval."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes

from dmin.figures.methods import method_style


def draw_dots(panel: Axes, rows: Sequence[tuple[str, pd.Series | None]], column: str) -> None:
    """Draw a line of a panel for each method and its row of a table: the value of ``column`` and ``low ... high``.

    A line whose row is None stays empty.
    """
    for line, (method, row) in enumerate(rows):
        if row is None:
            continue
        style = method_style(method)
        panel.plot([row["low"], row["high"]], [line, line], color=style.colour, linewidth=1.3)
        panel.plot([row[column]], [line], marker=style.marker, color=style.colour, clip_on=False, zorder=3)
    panel.grid(visible=True, axis="x")
    panel.grid(visible=False, axis="y")


def label_lines(panel: Axes, labels: Sequence[str]) -> None:
    """Name the lines of a panel, the first on top."""
    panel.set_yticks(range(len(labels)), labels)
    panel.set_ylim(len(labels) - 0.5, -0.5)
