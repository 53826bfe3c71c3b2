"""What the ways to retrieve cost, and how much of the exact ranking they return."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dmin.figures.colours import PALETTE
from dmin.figures.panels import Panels
from dmin.figures.style import house_style
from dmin.figures.tables import require_table, width_order

_COLUMNS = ("method", "v", "backend", "k", "recall", "p50_ms", "p95_ms", "build_seconds", "index_bytes")
_LABELS = {"exact": "exact scan", "cascade": "cascade", "hnsw": "HNSW index"}
_MARKERS = {"exact": "s", "cascade": "D", "hnsw": "o"}
# Of a step between widths, so that equal values stand beside one another.
_DODGE = 0.09


@house_style
def plot_retrieval(table: pd.DataFrame) -> Figure:
    """Draw recall of the longest list, query latency, build time and index size of every backend against the width v.

    Args:
        table: columns ``method, v, backend, k, recall, p50_ms, p95_ms, build_seconds, index_bytes``.

    Raises:
        UserError: the table is empty or lacks a column.
    """
    table = require_table(table, _COLUMNS, "retrieval")
    deepest = int(table["k"].max())
    table = table[table["k"] == deepest]
    widths = sorted({*table["v"]}, key=width_order)
    positions = {width: float(index) for index, width in enumerate(widths)}
    backends = [name for name in _LABELS if (table["backend"] == name).any()]
    panels = Panels(4, 4, 2.45, 2.35, sharey=False)
    recall, latency, build, size = panels.axes
    handles = []
    for place, backend in enumerate(backends):
        shift = _DODGE * (place - (len(backends) - 1) / 2)
        rows = table[table["backend"] == backend]
        rows = rows.assign(x=[positions[str(width)] + shift for width in rows["v"]]).sort_values("x")
        style: dict[str, Any] = {"color": PALETTE[place], "marker": _MARKERS[backend], "markersize": 5}
        recall.plot(rows["x"], rows["recall"], **style)
        latency.plot(rows["x"], rows["p50_ms"], **style)
        latency.vlines(rows["x"], rows["p50_ms"], rows["p95_ms"], color=PALETTE[place], linewidth=1.2)
        if backend != "exact":
            build.plot(rows["x"], rows["build_seconds"], **style)
            size.plot(rows["x"], rows["index_bytes"] / 2**20, **style)
        handles.append(Line2D([], [], **style, label=_LABELS[backend]))
    built = table[table["backend"] != "exact"]
    low = float(table["recall"].min())
    recall.set_ylim(min(0.9, low - 0.05 * (1 - low)) - 0.005, 1.006)
    _finish(recall, f"Recall of the exact top {deepest}", positions)
    _finish(latency, "Latency per query, ms", positions, pd.concat([table["p50_ms"], table["p95_ms"]]))
    _finish(build, "Build time, s", positions, built["build_seconds"])
    _finish(size, "Index size, MiB", positions, built["index_bytes"] / 2**20)
    panels.label(x="Compressed width v")
    panels.legend(handles, columns=len(handles))
    return panels.figure


def _finish(panel: Axes, title: str, positions: dict[str, float], values: pd.Series | None = None) -> None:
    """Label a panel; with ``values``, its y axis starts at zero or, over more than a decade, is a log axis."""
    panel.set_title(title)
    names = [f"{int(width):,}" if width.isdigit() else width or "-" for width in positions]
    panel.set_xticks(list(positions.values()), names)
    panel.margins(x=0.1)
    if values is None or values.empty:
        return
    low, high = float(values.min()), float(values.max())
    if low > 0 and high / low > 20:
        panel.set_yscale("log")
        panel.yaxis.set_major_formatter("{x:g}")
    else:
        panel.set_ylim(0, high * 1.12 or 1.0)
