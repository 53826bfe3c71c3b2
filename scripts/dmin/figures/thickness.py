"""How the stroke thickness of generated digits moves after removals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dmin.figures.colours import INK
from dmin.figures.methods import method_style
from dmin.figures.panels import Panels
from dmin.figures.style import house_style, save_figure
from dmin.figures.tables import require_table
from dmin.retraining.removal_names import NONE
from dmin.runtime.parquet import read_parquet
from dmin.runtime.readers import read_csv

_COLUMNS = ("method", "seed", "statistic", "value", "shift", "low", "high")
_STATISTICS = {"mean": "mean", "q10": "10 %", "q25": "25 %", "q50": "median", "q75": "75 %", "q90": "90 %"}


@house_style
def plot_thickness(table: pd.DataFrame, values: pd.DataFrame) -> Figure:
    """Draw the share of generated digits up to each thickness, and the shift of mean and quantiles with intervals.

    Both pool the training seeds; the shift is that from nothing removed.

    Args:
        table: see :func:`dmin.evaluation.thickness_shift.evaluate_thickness`.
        values: columns ``method, thickness``.

    Raises:
        UserError: the table is empty or lacks a column.
    """
    table = require_table(table, _COLUMNS, "thickness")
    pooled = table[table["seed"].astype(str) == "all"]
    methods = list(dict.fromkeys(values["method"]))
    panels = Panels(2, 2, 3.6, 2.9, sharey=False)
    share, shift = panels.axes
    for method in methods:
        style = method_style(method)
        thickness = np.sort(values.loc[values["method"] == method, "thickness"].dropna().to_numpy())
        share.plot(
            thickness,
            np.arange(1, len(thickness) + 1) / len(thickness),
            color=style.colour,
            linestyle=style.line,
        )
    shifted = [method for method in methods if method != NONE]
    for place, method in enumerate(shifted):
        style, rows = method_style(method), pooled[pooled["method"] == method].set_index("statistic")
        offset = (place - (len(shifted) - 1) / 2) * 0.8 / max(len(shifted), 1)
        for number, name in enumerate(_STATISTICS):
            row, x = rows.loc[name], number + offset
            shift.plot([x, x], [row["low"], row["high"]], color=style.colour, linewidth=1.3)
            shift.plot([x], [row["shift"]], marker=style.marker, color=style.colour, zorder=3)
    shift.axhline(0, color=INK, linewidth=0.7)
    shift.set_xticks(range(len(_STATISTICS)), list(_STATISTICS.values()))
    share.set_title("Thickness of generated digits")
    share.set_xlabel("thickness in pixels of 28")
    share.set_ylabel("share of digits up to it")
    shift.set_title("Shift from nothing removed")
    shift.set_xlabel("statistic")
    shift.set_ylabel("shift in pixels of 28")
    panels.legend([method_style(method).handle() for method in methods], 3)
    return panels.figure


def draw_thickness(table: Path, values: Path, outputs: Sequence[Path], dpi: int) -> None:
    """Read both tables, plot them and write the figure to every output."""
    save_figure(plot_thickness(read_csv(table), read_parquet(values)), outputs, dpi)
