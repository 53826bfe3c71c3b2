"""How near estimators come to exact values, over the number of coalitions."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from dmin.figures.colours import INK
from dmin.figures.estimators import (
    behaviour_label,
    draw_level,
    estimator_style,
    order_estimators,
    shown_baselines,
    shown_behaviours,
    trainer_handles,
    trainer_line,
)
from dmin.figures.panels import Panels
from dmin.figures.style import house_style
from dmin.figures.tables import require_table

_COLUMNS = ("estimator", "behaviour", "coalitions", "spearman", "error", "low", "high", "trainer", "truth")

_LEAST = 1e-3
# Panels that a figure has room for; the table has all behaviours.
_BEHAVIOURS = 4


@house_style
def plot_exact(exact: pd.DataFrame) -> Figure:
    """Draw the rank correlation with exact values over the number of coalitions, and the relative error below it.

    A column per behaviour, a line per estimator and trainer; bands hold the draws of coalitions. Level lines are
    baselines.

    Args:
        exact: see :func:`dmin.evaluation.exact_games.compare_exact`.

    Raises:
        UserError: the table is empty or lacks a column.
    """
    table = require_table(exact, _COLUMNS, "exact-values")
    fitted = table[table["coalitions"] > 0]
    behaviours = shown_behaviours(table["behaviour"], _BEHAVIOURS)
    estimators = order_estimators(fitted["estimator"].unique())
    levels = shown_baselines(table[table["coalitions"] == 0], "spearman")
    panels = Panels(2 * len(behaviours), len(behaviours), max(2.7, 5.4 / len(behaviours)), 2.4, sharey="row")
    sizes = sorted(fitted["coalitions"].unique())
    for column, behaviour in enumerate(behaviours):
        above, below = panels.axes[column], panels.axes[column + len(behaviours)]
        rows = fitted[fitted["behaviour"] == behaviour]
        for name in estimators:
            for trainer, part in rows[rows["estimator"] == name].groupby("trainer"):
                _draw(above, name, str(trainer), part.sort_values("coalitions"), "spearman")
                _draw(below, name, str(trainer), part.sort_values("coalitions"), "error")
        plain = table[(table["behaviour"] == behaviour) & (table["coalitions"] == 0)].set_index("estimator")
        for name in levels:
            draw_level(above, name, float(plain["spearman"][name]))
        above.set_title(behaviour_label(behaviour))
        above.axhline(0, color=INK, linewidth=0.7)
        for panel in (above, below):
            panel.set_xscale("log", base=2)
            panel.set_xticks(_ticks(sizes), [str(size) for size in _ticks(sizes)])
            panel.xaxis.set_minor_locator(NullLocator())
        below.set_yscale("log")
    panels.label(x="Coalitions")
    panels.axes[0].set_ylabel("Rank correlation")
    panels.axes[len(behaviours)].set_ylabel("Relative error")
    handles = [estimator_style(name).handle(linestyle="-", markersize=3.6) for name in estimators]
    handles += [estimator_style(name).handle(linestyle=estimator_style(name).level, marker="") for name in levels]
    handles += trainer_handles(set(fitted["trainer"]))
    panels.legend(handles, columns=4 if len(behaviours) > 2 else 3)
    return panels.figure


def _ticks(sizes: list[int]) -> list[int]:
    return [size for size in sizes if size & (size - 1) == 0] or sizes


def _draw(panel: Axes, name: str, trainer: str, rows: pd.DataFrame, column: str) -> None:
    style = estimator_style(name)
    # An error of nothing has no place on a logarithmic axis.
    values = rows[column].clip(lower=_LEAST) if column == "error" else rows[column]
    panel.plot(
        rows["coalitions"], values, color=style.colour, marker=style.marker, markersize=3.4, linewidth=1.2,
        linestyle=trainer_line(trainer), zorder=3,
    )  # fmt: skip
    if column == "spearman":
        panel.fill_between(rows["coalitions"], rows["low"], rows["high"], color=style.colour, alpha=0.07, linewidth=0)
