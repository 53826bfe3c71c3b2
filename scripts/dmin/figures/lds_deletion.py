"""LDS against deletion: does a method that foretells random subsets also name what a query hangs on?"""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from dmin.figures.colours import MUTED
from dmin.figures.methods import method_style, order_methods
from dmin.figures.panels import Panels
from dmin.figures.style import house_style
from dmin.figures.tables import require_table

_LDS = ("method", "v", "query_set", "lds", "low", "high")
_DELETION = ("method", "v", "k", "over_random", "over_random_low", "over_random_high")


@house_style
def plot_lds_deletion(lds: pd.DataFrame, deletion: pd.DataFrame) -> Figure:
    """Draw the rise of the loss over random removal against the LDS, a panel per k, with both intervals.

    Methods on a rising line are ordered alike by both; one above or below it is where the yardsticks disagree.

    Args:
        lds: columns ``method, v, query_set, lds, low, high``.
        deletion: columns ``method, v, k, over_random, over_random_low, over_random_high``.

    Raises:
        UserError: a table is empty or lacks a column.
    """
    lds = require_table(lds, _LDS, "LDS")
    deletion = require_table(deletion, _DELETION, "deletion")[[*_DELETION]]
    both = deletion.merge(lds[[*_LDS]], on=["method", "v"]).dropna(subset="over_random")
    sizes = sorted(set(both["k"]))
    panels = Panels(max(1, len(sizes)), 3, 2.9, 2.7)
    for panel, k in zip(panels.axes, sizes, strict=False):
        for row in both[both["k"] == k].to_dict("records"):
            style = method_style(row["method"])
            line: dict[str, Any] = {"color": style.colour, "linewidth": 0.9, "alpha": 0.6}
            panel.plot([row["low"], row["high"]], [row["over_random"]] * 2, **line)
            panel.plot([row["lds"]] * 2, [row["over_random_low"], row["over_random_high"]], **line)
            panel.plot([row["lds"]], [row["over_random"]], marker=style.marker, color=style.colour, zorder=3)
        panel.axhline(0, color=MUTED, linewidth=0.9, dashes=(4, 2))
        panel.set_title(f"{k} removed")
    panels.label("LDS", "loss, over random removal")
    methods = order_methods(both["method"].unique())
    panels.legend([method_style(method).handle(linestyle="") for method in methods], 4)
    return panels.figure
