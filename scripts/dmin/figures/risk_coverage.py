"""Risk against coverage: what is gained by not answering where a list is unsure."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dmin.figures.colours import MUTED
from dmin.figures.methods import method_style, order_methods
from dmin.figures.panels import Panels
from dmin.figures.style import house_style
from dmin.figures.tables import require_table, shown_widths, width_order

_COLUMNS = ("method", "v", "truth", "order", "coverage", "risk", "low", "high", "queries")
_TRUTHS = {"hits": "by hits", "lds": "by retraining"}


@house_style
def plot_risk_coverage(table: pd.DataFrame) -> Figure:
    """Draw the risk of the surest answers over their share, a panel per method and truth, with its interval.

    Each method is drawn at the largest of its widths up to 4,096, or uncompressed where it has no other. Triangles are
    thresholds on the number of significant images, the dashed line is the risk of answering everything.

    Args:
        table: see :func:`dmin.evaluation.risk_coverage.evaluate_risk_coverage`.

    Raises:
        UserError: the table is empty or lacks a column.
    """
    table = require_table(table, _COLUMNS, "risk-coverage")
    shown = [
        (truth, method, part)
        for truth, rows in table.groupby("truth", sort=True)
        for method in order_methods(rows["method"].unique())
        for part in [_at_shown_width(rows[rows["method"] == method])]
    ]
    panels = Panels(len(shown), 4, 2.4, 2.1, sharey=False)
    for panel, (truth, method, rows) in zip(panels.axes, shown, strict=True):
        style = method_style(method)
        _draw(panel, rows, style.colour)
        panel.set_title(f"{style.label}\n{_TRUTHS[str(truth)]}", fontsize=8.5)
    panels.label("share of queries answered", "risk")
    panels.legend(
        [
            Line2D([], [], color=MUTED, label="surest p-values first"),
            Line2D([], [], color=MUTED, linestyle="", marker="^", label="by number of significant images"),
            Line2D([], [], color=MUTED, linewidth=0.9, dashes=(4, 2), label="everything answered"),
        ],
        columns=3 if len(shown) > 2 else 1,
    )
    return panels.figure


def _at_shown_width(rows: pd.DataFrame) -> pd.DataFrame:
    widths = sorted(rows["v"].unique(), key=width_order)
    return rows[rows["v"] == [*widths[-1:], *shown_widths(widths)][-1]]


def _draw(panel: Axes, rows: pd.DataFrame, colour: str) -> None:
    """Draw a method's line, its interval and its thresholds."""
    line = rows[rows["order"] == "p_value"].sort_values("coverage")
    panel.fill_between(line["coverage"], line["low"], line["high"], color=colour, alpha=0.16, linewidth=0)
    panel.plot(line["coverage"], line["risk"], color=colour, marker="." if len(line) == 1 else "")
    panel.axhline(float(line["risk"].iloc[-1]), color=MUTED, linewidth=0.9, dashes=(4, 2))
    dots = rows[rows["order"] == "significant"]
    if not dots.empty:
        panel.vlines(dots["coverage"], dots["low"], dots["high"], color=colour, linewidth=0.9)
        panel.plot(dots["coverage"], dots["risk"], color=colour, marker="^", linestyle="", clip_on=False, zorder=3)
    panel.set_xlim(0, 1.02)
    panel.set_ylim(bottom=0)
