"""Heat maps of the HNSW ablation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dmin.figures.colours import INK, MEAN
from dmin.figures.panels import Panels
from dmin.figures.style import house_style
from dmin.figures.tables import require_table

_COLUMNS = ("M", "ef_construction", "ef", "subset", "rate", "recall", "build_seconds", "index_bytes", "p50_ms")


@dataclass(frozen=True)
class _Map:
    """One heat map: its title, the number in each cell, how to write it, and whether more is better."""

    title: str
    values: pd.DataFrame
    form: str
    more_is_better: bool


@house_style
def plot_hnsw(table: pd.DataFrame) -> Figure:
    """Draw detection rate, recall and latency for each ``ef``, build time and index size, over M and ef_construction.

    Darker is better in every map.

    Args:
        table: columns ``M, ef_construction, ef, subset, rate, recall, build_seconds, index_bytes, p50_ms``; the rows of
            subset ``mean`` are drawn.

    Raises:
        UserError: the table lacks a column or has no row of subset ``mean``.
    """
    table = require_table(table, _COLUMNS, "HNSW")
    table = require_table(table[table["subset"] == MEAN], _COLUMNS, "HNSW")
    maps = []
    for ef in sorted({*table["ef"]}):
        rows = table[table["ef"] == ef]
        maps += [
            _Map(f"Detection rate, ef = {ef}", _grid(rows, "rate"), "{:.3f}", True),
            _Map(f"Recall, ef = {ef}", _grid(rows, "recall"), "{:.3f}", True),
            _Map(f"Latency, ms, ef = {ef}", _grid(rows, "p50_ms"), "{:.3g}", False),
        ]
    maps += [
        _Map("Build time, s", _grid(table, "build_seconds"), "{:.3g}", False),
        _Map("Index size, MiB", _grid(table, "index_bytes") / 2**20, "{:.4g}", False),
    ]
    rows, columns = maps[0].values.shape
    panels = Panels(len(maps), 3, 0.75 + 0.42 * columns, 0.7 + 0.27 * rows)
    for panel, entry in zip(panels.axes, maps, strict=True):
        _draw(panel, entry)
    panels.label(x="ef_construction", y="M")
    return panels.figure


def _grid(table: pd.DataFrame, column: str) -> pd.DataFrame:
    # Build time and size are repeated for every ef, so the mean is the value.
    return table.pivot_table(index="M", columns="ef_construction", values=column, aggfunc="mean")


def _draw(panel: Axes, entry: _Map) -> None:
    values = entry.values.to_numpy()
    low, high = np.nanmin(values), np.nanmax(values)
    # Differences below a hundredth of the value are not stretched over the whole scale.
    span = max(high - low, 0.01 * abs(high), 1e-12)
    shade = (values - low) / span if entry.more_is_better else (high - values) / span
    panel.imshow(shade, cmap="Blues", vmin=-0.15, vmax=1.25, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            colour = "white" if shade[row, column] > 0.65 else INK
            text = entry.form.format(value)
            panel.text(column, row, text, ha="center", va="center", fontsize=6.5, color=colour)
    panel.set_title(entry.title)
    panel.set_xticks(range(values.shape[1]), [str(name) for name in entry.values.columns])
    panel.set_yticks(range(values.shape[0]), [str(name) for name in entry.values.index])
    panel.grid(visible=False)
    for side in ("left", "bottom"):
        panel.spines[side].set_visible(False)
