"""What is left of a behaviour without the top contributors, or with them alone."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dmin.figures.estimators import behaviour_label, estimator_style, shown_behaviours
from dmin.figures.panels import Panels
from dmin.figures.style import MUTED, house_style
from dmin.figures.tables import require_table

_COLUMNS = ("estimator", "behaviour", "kind", "share", "players", "value", "low", "high", "trainer")
_TITLES = {"remove": "without the top", "keep": "with the top alone"}
_EVERYONE = "everyone"
# Estimators that are shown, and of Shapley's only the first that there is; the table has all.
_SHAPLEY = ("exact_shapley", "shapley_by_size", "shapley", "permutation")
_OTHERS = ("datamodel", "banzhaf", "leave_one_out", "random", "size")
# Panels that a figure has room for; the table has all behaviours.
_BEHAVIOURS = 4


@house_style
def plot_deletion(deletion: pd.DataFrame) -> Figure:
    """Draw a behaviour over the share of the players that is removed, or kept alone, a row of two panels per behaviour.

    Level lines are everyone's (dashed) and no one's (dotted). A good estimator moves the behaviour from the one to the
    other with few players.

    Args:
        deletion: see :func:`dmin.evaluation.deletion.read_deletion`.

    Raises:
        UserError: the table is empty or lacks a column.
    """
    table = require_table(deletion, _COLUMNS, "deletion")
    table = table[table["trainer"] == table["trainer"].iloc[0]]
    names = set(table["estimator"])
    local = sorted(name for name in names if name.endswith("_sum"))[:1]
    shapley = [name for name in _SHAPLEY if name in names][:1]
    shown = [*shapley, *(name for name in _OTHERS if name in names), *local]
    behaviours = shown_behaviours(table["behaviour"], _BEHAVIOURS)
    panels = Panels(2 * len(behaviours), 2, 3.3, 2.3, sharey="row")
    for row, behaviour in enumerate(behaviours):
        part = table[table["behaviour"] == behaviour]
        ends = part[part["estimator"] == _EVERYONE].set_index("share")["value"]
        for column, (kind, title) in enumerate(_TITLES.items()):
            panel = panels.axes[2 * row + column]
            for name in shown:
                _draw(panel, name, part[(part["estimator"] == name) & (part["kind"] == kind)].sort_values("share"))
            for share, dashes in ((0.0, (4, 2)), (1.0, (1.2, 1.2))):
                if share in ends.index:
                    panel.axhline(float(ends[share]), color=MUTED, linewidth=0.9, dashes=dashes, zorder=1)
            panel.set_title(f"{behaviour_label(behaviour)}, {title}")
    panels.label(x="Share of the contributors, %")
    panels.legend([estimator_style(name).handle(linestyle="-", markersize=3.6) for name in shown], columns=3)
    return panels.figure


def _draw(panel: Axes, name: str, rows: pd.DataFrame) -> None:
    style = estimator_style(name)
    panel.plot(
        100 * rows["share"], rows["value"], color=style.colour, marker=style.marker, markersize=3.4, linewidth=1.2,
        linestyle=style.line, zorder=3,
    )  # fmt: skip
    panel.vlines(100 * rows["share"], rows["low"], rows["high"], color=style.colour, linewidth=0.6, alpha=0.4)
