"""The loss curve of fine-tuning."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dmin.figures.colours import MUTED, PALETTE, lighten
from dmin.figures.panels import Panels
from dmin.figures.style import house_style
from dmin.figures.tables import require_table

# Rows are averaged over this share of the curve; what falls in its first share may lie off the scale.
_SMOOTHED, _FIRST = 0.05, 0.1


@house_style
def plot_training(table: pd.DataFrame) -> Figure:
    """Draw the loss by step, and its running mean where there are rows enough for one.

    The scale is that of the curve after its first tenth, for a loss falls most at first; where it begins is written
    beside it. Each row of the table is the mean since the row before.

    Args:
        table: columns ``step, loss``.

    Raises:
        UserError: the table is empty or lacks a column.
    """
    table = require_table(table, ("step", "loss"), "training").sort_values("step")
    steps, losses = (table[name].to_numpy(dtype=float) for name in ("step", "loss"))
    panels = Panels(1, 1, 5.4, 2.9)
    (panel,) = panels.axes
    window = int(len(losses) * _SMOOTHED) // 2 * 2 + 1
    alone, colour = window == 1, PALETTE[0]
    notes: list[str] = []
    panel.plot(steps, losses, color=colour if alone else lighten(colour, 0.62), linewidth=1.6 if alone else 0.7)
    if not alone:
        smooth = table["loss"].rolling(window, center=True, min_periods=window // 2 + 1).mean()
        panel.plot(steps, smooth, color=colour)
        notes.append(f"bold: mean of {window} rows")
    settled = losses[steps > _FIRST * np.nanmax(steps)]
    low, high = (float(value) for value in np.nanquantile(settled, [0.0, 0.995]))
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    panel.set_ylim(max(0.0, low - margin) if low >= 0 else low - margin, high + margin)
    if losses[0] > high + margin:
        notes.append(f"begins at {losses[0]:.3g}, off the scale")
    panel.set_title("; ".join(notes), loc="right", fontsize=8, fontweight="normal", color=MUTED)
    panel.margins(x=0.015)
    panels.label(x="Training step", y="Loss")
    return panels.figure
