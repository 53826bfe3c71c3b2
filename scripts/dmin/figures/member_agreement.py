"""What members do against what retrained ones do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dmin.figures.colours import MUTED, PALETTE
from dmin.figures.estimators import TRAINER_NAMES, behaviour_label, shown_behaviours
from dmin.figures.panels import Panels
from dmin.figures.style import house_style, save_figure
from dmin.figures.tables import require_table
from dmin.games.records import Records

_COLUMNS = ("behaviour", "trainer", "pearson", "spearman", "low", "high", "members", "steps_ratio", "of")
_MARKERS = {"sparsified": ("o", PALETTE[0]), "unlearn": ("s", PALETTE[1])}
# Panels that a figure has room for; the table has all behaviours.
_BEHAVIOURS = 9


@house_style
def plot_member_agreement(agreement: pd.DataFrame, pairs: Mapping[tuple[str, str], pd.DataFrame]) -> Figure:
    """Draw a behaviour of each member over that of the member retrained on the same coalition, a panel per behaviour.

    The dashed line is equality. The larger a marker, the more players are in.

    Args:
        agreement: see :func:`dmin.evaluation.member_agreement.find_agreement`; its correlations stand in the panels.
        pairs: by behaviour and trainer, columns ``reference, value, players``.

    Raises:
        UserError: the table is empty or lacks a column.
    """
    table = require_table(agreement, _COLUMNS, "agreement")
    table = table[table["of"] == "members"]
    behaviours = shown_behaviours(table["behaviour"], _BEHAVIOURS)
    panels = Panels(len(behaviours), 3, 2.7, 2.6, sharey=False)
    for panel, behaviour in zip(panels.axes, behaviours, strict=True):
        lines = []
        for _, row in table[table["behaviour"] == behaviour].iterrows():
            found = pairs[behaviour, row["trainer"]]
            marker, colour = _MARKERS[row["trainer"]]
            size = 8 + 26 * found["players"] / found["players"].max()
            panel.scatter(
                found["reference"], found["value"], s=size, marker=marker, color=colour, alpha=0.65, linewidth=0.3,
                zorder=3,
            )  # fmt: skip
            lines.append(f"r = {row['pearson']:.2f} ({row['low']:.2f} to {row['high']:.2f})")
        ends = [*panel.get_xlim(), *panel.get_ylim()]
        panel.plot([min(ends), max(ends)], [min(ends), max(ends)], color=MUTED, linewidth=0.9, dashes=(4, 2), zorder=1)
        panel.set_title(behaviour_label(behaviour))
        panel.text(0.04, 0.96, "\n".join(lines), transform=panel.transAxes, va="top", fontsize=7.5)
        panel.grid(visible=True, axis="x")
    panels.label(x="retrained", y="without retraining")
    handles = []
    for trainer in table["trainer"].unique():
        marker, colour = _MARKERS[trainer]
        steps = table.loc[table["trainer"] == trainer, "steps_ratio"].iloc[0]
        label = f"{TRAINER_NAMES[trainer]}, {steps:.2g} of the steps"
        handles.append(Line2D([], [], color=colour, marker=marker, linestyle="", label=label))
    panels.legend(handles, columns=2)
    return panels.figure


def draw_member_agreement(records: Records, agreement: Path, outputs: Sequence[Path], dpi: int) -> None:
    """Read the table of agreement, plot it with the pairs of a game's members, and write the figure to every output."""
    table = pd.read_csv(agreement)
    rows = table[table["of"] == "members"]
    asked = zip(rows["behaviour"], rows["trainer"], strict=True)
    pairs = {(behaviour, trainer): records.shared(behaviour, trainer, "retrain") for behaviour, trainer in asked}
    save_figure(plot_member_agreement(table, pairs), outputs, dpi)
