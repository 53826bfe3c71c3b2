"""Who contributes how much, with intervals."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from dmin.figures.estimators import behaviour_label, estimator_style, order_estimators, shown_behaviours
from dmin.figures.panels import Panels
from dmin.figures.style import INK, house_style, lighten
from dmin.figures.tables import require_table

_COLUMNS = ("estimator", "behaviour", "player", "samples", "value", "low", "high", "share")
# Players that a panel shows, those of the largest shares.
_SHOWN = 12
_BAR = 0.72
# Panels that a figure has room for; the table has all behaviours.
_BEHAVIOURS = 6


@house_style
def plot_contributions(contributions: pd.DataFrame) -> Figure:
    """Draw the share of v(all) - v(none) of every player, a panel per behaviour.

    Bars are the exact Shapley values, or, without them, the Shapley estimator's, or the first estimator's; markers are
    the other estimators. Lines are intervals. The twelve players of the largest shares are shown, the largest on top.

    Args:
        contributions: see :func:`dmin.games.contributions.fit_contributions`.

    Raises:
        UserError: the table is empty or lacks a column.
    """
    table = require_table(contributions, _COLUMNS, "contributions")
    table = table[table["share"].notna()].copy()
    table = require_table(table, _COLUMNS, "contributions' share")
    gain = table["value"] / table["share"]
    ends = table[["low", "high"]].div(gain, axis=0)
    table["left"], table["right"] = 100 * ends.min(axis=1, skipna=False), 100 * ends.max(axis=1, skipna=False)
    table["percent"] = 100 * table["share"]
    names = order_estimators(table["estimator"].unique())
    barred = next((name for name in ("exact_shapley", "shapley_by_size", "shapley") if name in names), names[0])
    others = [name for name in names if name != barred]
    behaviours = shown_behaviours(table["behaviour"], _BEHAVIOURS)
    rows = min(_SHOWN, table["player"].nunique())
    panels = Panels(len(behaviours), 2, 3.6, 0.9 + 0.36 * rows, sharey=False)
    for panel, behaviour in zip(panels.axes, behaviours, strict=True):
        _draw(panel, table[table["behaviour"] == behaviour], barred, others)
        panel.set_title(behaviour_label(behaviour))
    panels.label(x="Share of v(all) - v(none), %")
    bar = estimator_style(barred)
    handles = [Patch(color=lighten(bar.colour, 0.45), label=bar.label)]
    marks = [estimator_style(name).handle(linestyle="", markersize=4.0) for name in others]
    panels.legend([*handles, *marks], columns=3)
    return panels.figure


def _draw(panel: Axes, table: pd.DataFrame, barred: str, others: list[str]) -> None:
    bars = table[table["estimator"] == barred].set_index("player")
    largest = bars["percent"].abs().sort_values(ascending=False, kind="stable").index[:_SHOWN]
    bars = bars.loc[largest].sort_values("percent", ascending=False, kind="stable")
    style = estimator_style(barred)
    lines = range(len(bars))
    panel.barh(list(lines), bars["percent"], height=_BAR, color=lighten(style.colour, 0.45), zorder=1)
    panel.hlines(list(lines), bars["left"], bars["right"], color=style.colour, linewidth=2.2, zorder=2)
    for place, name in enumerate(others):
        found = table[table["estimator"] == name].set_index("player").reindex(bars.index)
        other = estimator_style(name)
        at = [line + _BAR * ((place + 0.5) / len(others) - 0.5) for line in lines]
        panel.plot(
            found["percent"], at, color=other.colour, marker=other.marker, linestyle="", markersize=3.2, zorder=4
        )
        panel.hlines(at, found["left"], found["right"], color=other.colour, linewidth=0.8, alpha=0.7, zorder=3)
    panel.axvline(0, color=INK, linewidth=0.7)
    panel.set_yticks(list(lines), [str(name) for name in bars.index])
    panel.set_ylim(len(bars) - 0.4, -0.6)
    panel.grid(visible=True, axis="x")
    panel.grid(visible=False, axis="y")
