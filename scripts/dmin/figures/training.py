"""The loss curve of fine-tuning."""

from __future__ import annotations

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from dmin.figures.panels import Panels
from dmin.figures.style import PALETTE, house_style, lighten
from dmin.figures.tables import require_table

_RAW_POINTS = 2000


@house_style
def plot_training(table: pd.DataFrame) -> Figure:
    """Draw the loss of every step and its mean over a centred window of 5 % of the steps.

    Args:
        table: columns ``step, loss``.

    Raises:
        UserError: the table is empty or lacks a column.
    """
    table = require_table(table, ("step", "loss"), "training").sort_values("step")
    window = max(1, len(table) // 20)
    smooth = table["loss"].rolling(window, center=True, min_periods=max(1, window // 2)).mean()
    panels = Panels(1, 1, 5.4, 2.9)
    (panel,) = panels.axes
    # More points than pixels only bloat the file.
    thinned = table.iloc[:: max(1, len(table) // _RAW_POINTS)]
    sns.lineplot(
        x=thinned["step"],
        y=thinned["loss"],
        ax=panel,
        color=lighten(PALETTE[0], 0.6),
        linewidth=0.6,
        errorbar=None,
        label="each step",
    )
    sns.lineplot(
        x=table["step"],
        y=smooth,
        ax=panel,
        color=PALETTE[0],
        linewidth=1.8,
        errorbar=None,
        label=f"mean over {window} steps",
    )
    low, high = (float(value) for value in np.nanquantile(table["loss"], [0.0, 0.995]))
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    panel.set_ylim(max(0.0, low - margin) if low >= 0 else low - margin, high + margin)
    panel.margins(x=0.015)
    panels.label(x="Training step", y="Loss")
    panel.legend(loc="upper right")
    return panels.figure
