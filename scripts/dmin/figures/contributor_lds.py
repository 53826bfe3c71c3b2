"""What contributions foretell, over what they cost."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from dmin.catalogue.estimators import ESTIMATORS
from dmin.figures.colours import INK
from dmin.figures.estimators import (
    behaviour_label,
    draw_level,
    draw_limit,
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

_COLUMNS = (
    "estimator", "behaviour", "lds", "low", "high", "ceiling", "coalitions", "compute", "trainer", "size", "tests",
)  # fmt: skip
# Panels that a figure has room for; the table has all behaviours.
_BEHAVIOURS = 6


@house_style
def plot_contributor_lds(lds: pd.DataFrame) -> Figure:
    """Draw LDS over compute in units of one retraining, a panel per behaviour and a line per estimator and trainer.

    Held-out coalitions are those of the size of which there are most. Level lines are baselines: chance, the number of
    samples, and the local method with the highest LDS. The dashed line is the noise ceiling. Without a trainer that
    retrains, compute is unknown, and the number of coalitions takes its place.

    Args:
        lds: see :func:`dmin.evaluation.contributor_lds.find_lds`.

    Raises:
        UserError: the table is empty or lacks a column.
    """
    table = require_table(lds, _COLUMNS, "LDS")
    size = int(table.sort_values(["tests", "size"], ascending=[False, True])["size"].iloc[0])
    table = table[table["size"] == size]
    fitted = table[table["coalitions"] > 0]
    x = "compute" if fitted["compute"].notna().all() else "coalitions"
    behaviours = shown_behaviours(table["behaviour"], _BEHAVIOURS)
    panels = Panels(len(behaviours), 3, 3.0, 2.7)
    estimators = order_estimators(fitted["estimator"].unique())
    levels = shown_baselines(table[table["coalitions"] == 0], "lds")
    for panel, behaviour in zip(panels.axes, behaviours, strict=True):
        rows = table[table["behaviour"] == behaviour]
        for name in estimators:
            for trainer, part in rows[(rows["estimator"] == name) & (rows["coalitions"] > 0)].groupby("trainer"):
                _draw(panel, name, str(trainer), part.sort_values(x), x)
        for name in levels:
            draw_level(panel, name, float(rows.loc[rows["estimator"] == name, "lds"].iloc[0]))
        if pd.notna(rows["ceiling"].iloc[0]):
            draw_limit(panel, float(rows["ceiling"].iloc[0]))
        panel.axhline(0, color=INK, linewidth=0.7)
        panel.set_xscale("log")
        panel.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        panel.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        panel.xaxis.set_minor_locator(NullLocator())
        panel.set_title(behaviour_label(behaviour))
    panels.label(x="Retrainings that the fit costs" if x == "compute" else "Coalitions of the fit", y="LDS")
    handles = [estimator_style(name).handle(linestyle="-", markersize=3.6) for name in estimators]
    handles += [estimator_style(name).handle(linestyle=estimator_style(name).level, marker="") for name in levels]
    handles += trainer_handles(set(fitted["trainer"]))
    panels.legend(handles, columns=min(4, len(behaviours) + 1))
    return panels.figure


def _draw(panel: Axes, name: str, trainer: str, rows: pd.DataFrame, x: str) -> None:
    style = estimator_style(name)
    panel.plot(
        rows[x], rows["lds"], color=style.colour, marker=style.marker, markersize=3.6, linewidth=1.3,
        linestyle=trainer_line(trainer), zorder=3,
    )  # fmt: skip
    if name in ESTIMATORS and ESTIMATORS[name].efficient:
        panel.fill_between(rows[x], rows["low"], rows["high"], color=style.colour, alpha=0.08, linewidth=0)
