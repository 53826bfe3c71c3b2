"""Gradient norm by timestep."""

from __future__ import annotations

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dmin.figures.colours import NOISE, order_subsets, subset_colours
from dmin.figures.panels import Panels
from dmin.figures.style import house_style
from dmin.figures.tables import require_table
from dmin.runtime.errors import UserError

_SPLIT_NAMES = {"train": "training images", "test": "test images", "queries": "generated images"}


@house_style
def plot_gradient_norms(table: pd.DataFrame) -> Figure:
    """Draw the median gradient norm against the timestep: a panel per split, a line per subset, a 10 to 90 % band.

    Args:
        table: columns ``split, sample_id, subset, timestep, norm``.

    Raises:
        UserError: the table is empty, lacks a column or has no positive norm.
    """
    table = require_table(table, ("split", "sample_id", "subset", "timestep", "norm"), "gradient-norm")
    table = table[table["norm"] > 0]
    if table.empty:
        raise UserError(
            "The gradient-norm table has no positive norm to draw on a log axis; check the trained adapter."
        )
    splits = sorted({*table["split"]}, key=lambda split: (split != "train", split))
    colours = subset_colours(table["subset"])
    panels = Panels(len(splits), 2, 3.9 if len(splits) > 1 else 5.4, 2.9)
    for panel, split in zip(panels.axes, splits, strict=True):
        groups = table[table["split"] == split].groupby(["subset", "timestep"])["norm"]
        quantiles = groups.quantile([0.1, 0.5, 0.9]).unstack().reset_index()
        for subset in order_subsets(quantiles["subset"]):
            rows = quantiles[quantiles["subset"] == subset].sort_values("timestep")
            panel.fill_between(rows["timestep"], rows[0.1], rows[0.9], color=colours[subset], alpha=0.1, linewidth=0)
            sns.lineplot(
                x=rows["timestep"],
                y=rows[0.5],
                color=colours[subset],
                ax=panel,
                marker="o",
                errorbar=None,
                linestyle="--" if subset == NOISE else "-",
                markeredgewidth=0.5,
            )
        panel.set_yscale("log")
        panel.set_title(_SPLIT_NAMES.get(split, split))
        panel.yaxis.set_major_formatter("{x:g}")
    panels.label(x="Timestep (0: no noise)", y="Gradient norm")
    handles = [
        Line2D(
            [],
            [],
            color=colours[subset],
            marker="o",
            linestyle="--" if subset == NOISE else "-",
            label="noised copies" if subset == NOISE else subset,
        )
        for subset in order_subsets(table["subset"])
    ]
    panels.legend(handles, columns=4 if len(splits) > 1 else 3)
    return panels.figure
