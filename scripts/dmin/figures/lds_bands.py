"""LDS by band of timesteps: at which noise methods foretell what training does."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from dmin.figures.colours import INK, MUTED
from dmin.figures.methods import method_style, order_methods
from dmin.figures.panels import Panels
from dmin.figures.style import house_style
from dmin.figures.tables import require_table, width_order

_COLUMNS = ("method", "v", "query_set", "bank", "low_timestep", "high_timestep", "lds", "low", "high", "ceiling")


@house_style
def plot_lds_bands(table: pd.DataFrame) -> Figure:
    """Draw the LDS of every method at its widest over bands of timesteps, low noise first, with their intervals.

    The dashed steps are the ceiling of each band, where there are two seeds; a band whose ceiling ranks nothing is
    grey and empty.

    Args:
        table: see :func:`dmin.evaluation.lds_bands.evaluate_lds_bands`.

    Raises:
        UserError: the table is empty or lacks a column.
    """
    table = require_table(table, _COLUMNS, "LDS by timestep")
    widest = table.assign(width=table["v"].map(width_order))
    widest = widest[widest["width"] == widest.groupby("method")["width"].transform("max")]
    bands = widest.drop_duplicates("low_timestep").sort_values("low_timestep").reset_index(drop=True)
    place = {low: number for number, low in enumerate(bands["low_timestep"])}
    panels = Panels(1, 1, 6.4, 3.6)
    panel, methods = panels.axes[0], order_methods(widest["method"].unique())
    for number, method in enumerate(methods):
        rows, style = widest[widest["method"] == method].sort_values("low_timestep"), method_style(method)
        # Moved aside a little, so that intervals do not cover each other.
        where = rows["low_timestep"].map(place) + 0.5 * (number / max(1, len(methods) - 1) - 0.5)
        panel.plot(where, rows["lds"], color=style.colour, marker=style.marker, markersize=3.8, linestyle="")
        panel.vlines(where, rows["low"], rows["high"], color=style.colour, linewidth=0.9, alpha=0.6)
    for number, row in enumerate(bands.to_dict("records")):
        ends = number - 0.45, number + 0.45
        if pd.isna(row["lds"]):
            panel.axvspan(*ends, color=MUTED, alpha=0.15, linewidth=0)
        panel.hlines(row["ceiling"], *ends, color=MUTED, linewidth=1.1, linestyle="--")
    panel.axhline(0, color=INK, linewidth=0.7)
    labels = [f"{low} to {high}" for low, high in zip(bands["low_timestep"], bands["high_timestep"], strict=True)]
    panel.set_xticks(range(len(bands)), labels)
    query_set = str(bands["query_set"].iloc[0]).replace("_", " ")
    panel.set_title(f"LDS by timestep, {query_set} queries")
    panels.label("timesteps of the loss; dashed: ceiling", "Spearman's rho")
    panels.legend([method_style(method).handle(linestyle="", markersize=3.8) for method in methods], columns=4)
    return panels.figure
