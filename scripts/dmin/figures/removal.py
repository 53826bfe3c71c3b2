"""How much images change when what a method ranks first for them is removed."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from dmin.figures.colours import MUTED
from dmin.figures.dots import draw_dots, label_lines
from dmin.figures.methods import method_style
from dmin.figures.panels import Panels
from dmin.figures.style import house_style
from dmin.figures.tables import require_table
from dmin.retraining.removal_names import NONE, RANDOM, RETRAINED

_COLUMNS = ("method", "v", "k", "reference", "measure", "mean", "low", "high", "queries", "seeds")
_TITLES = {"l2": "Pixels", "feature_distance": "Embeddings"}
_LABELS = {"l2": "L2 in [-1, 1]; dashed: random", "feature_distance": "1 - cosine, EfficientNet"}


@house_style
def plot_removal(summary: pd.DataFrame) -> Figure:
    """Draw both distances to what is generated with nothing removed, with their intervals, a row per method.

    Rows are sorted by the distance of pixels. The dashed line is random removal; the row of nothing removed, where
    there are two training seeds, is the change from seed to seed.

    Args:
        summary: see :func:`dmin.evaluation.removal.summarise`.

    Raises:
        UserError: the table is empty or lacks a column.
    """
    table = require_table(summary, _COLUMNS, "removal")
    table = table[table["reference"] == RETRAINED]
    rows = table[table["measure"] == "l2"].sort_values("mean", ascending=False)["method"].tolist()
    panels = Panels(2, 2, 3.4, 1.0 + 0.22 * len(rows))
    for panel, measure in zip(panels.axes, _TITLES, strict=True):
        found = table[table["measure"] == measure].set_index("method")
        draw_dots(panel, [(method, found.loc[method]) for method in rows], "mean")
        panel.axvline(float(found["mean"].loc[[RANDOM]].iloc[0]), color=MUTED, linewidth=0.9, dashes=(4, 2), zorder=1)
        panel.set_xlim(left=0)
        panel.set_title(_TITLES[measure])
        panel.set_xlabel(_LABELS[measure])
    label_lines(panels.axes[0], [_label(method) for method in rows])
    return panels.figure


def _label(method: str) -> str:
    return "Another training seed" if method == NONE else method_style(method).label
