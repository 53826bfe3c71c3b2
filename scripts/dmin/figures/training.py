"""The loss curve of fine-tuning."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dmin.figures.colours import PALETTE
from dmin.figures.panels import Panels
from dmin.figures.style import house_style
from dmin.figures.tables import require_table


@house_style
def plot_training(table: pd.DataFrame) -> Figure:
    """Draw the loss by step; each row of the table is the mean since the row before.

    Args:
        table: columns ``step, loss``.

    Raises:
        UserError: the table is empty or lacks a column.
    """
    table = require_table(table, ("step", "loss"), "training").sort_values("step")
    panels = Panels(1, 1, 5.4, 2.9)
    (panel,) = panels.axes
    panel.plot(table["step"], table["loss"], color=PALETTE[0])
    low, high = (float(value) for value in np.nanquantile(table["loss"], [0.0, 0.995]))
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    panel.set_ylim(max(0.0, low - margin) if low >= 0 else low - margin, high + margin)
    panel.margins(x=0.015)
    panels.label(x="Training step", y="Loss")
    return panels.figure
