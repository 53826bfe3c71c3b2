"""What the HNSW index costs and how much of the exact ranking it returns."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dmin.figures.methods import method_style, order_methods
from dmin.figures.panels import Panels
from dmin.figures.style import MUTED, house_style, lighten
from dmin.figures.tables import require_table, width_order

_COLUMNS = ("method", "v", "backend", "k", "recall", "p50_ms", "p95_ms", "build_seconds", "index_bytes")
_MARKERS = ("o", "s", "^", "D", "v", "P")


@house_style
def plot_retrieval(table: pd.DataFrame) -> Figure:
    """Draw recall against the exact ranking, query latency, build time and index size against the width v.

    Args:
        table: columns ``method, v, backend, k, recall, p50_ms, p95_ms, build_seconds, index_bytes``; a line per
            method and k.

    Raises:
        UserError: the table is empty or lacks a column.
    """
    table = require_table(table, _COLUMNS, "retrieval")
    if (table["backend"] == "hnsw").any():
        table = table[table["backend"] == "hnsw"]
    widths = sorted({*table["v"]}, key=width_order)
    positions = {width: float(index) for index, width in enumerate(widths)}
    methods = order_methods(table["method"].unique())
    cutoffs = sorted({int(k) for k in table["k"]})
    panels = Panels(4, 4, 2.45, 2.35, sharey=False)
    recall, latency, build, size = panels.axes
    for method in methods:
        for index, k in enumerate(cutoffs):
            rows = table[(table["method"] == method) & (table["k"] == k)]
            if rows.empty:
                continue
            rows = rows.assign(x=[positions[str(width)] for width in rows["v"]]).sort_values("x")
            # Larger k is darker; the marker repeats k for readers who cannot tell the shades.
            colour = lighten(method_style(method).colour, 0.6 * (1 - (index + 1) / len(cutoffs)))
            marker = _MARKERS[index % len(_MARKERS)]
            recall.plot(rows["x"], rows["recall"], color=colour, marker=marker)
            latency.plot(rows["x"], rows["p50_ms"], color=colour, marker=marker)
            latency.plot(rows["x"], rows["p95_ms"], color=colour, linestyle=(0, (2, 1.5)), linewidth=1.0)
        rows = table[table["method"] == method].drop_duplicates("v")
        rows = rows.assign(x=[positions[str(width)] for width in rows["v"]]).sort_values("x")
        style = method_style(method)
        build.plot(rows["x"], rows["build_seconds"], color=style.colour, marker="o")
        size.plot(rows["x"], rows["index_bytes"] / 2**20, color=style.colour, marker="o")
    low = float(table["recall"].min())
    recall.set_ylim(min(0.9, low - 0.05 * (1 - low)) - 0.005, 1.006)
    _finish(recall, "Recall of exact top k", positions)
    _finish(latency, "Latency per query, ms", positions, pd.concat([table["p50_ms"], table["p95_ms"]]))
    _finish(build, "Build time, s", positions, table["build_seconds"])
    _finish(size, "Index size, MiB", positions, table["index_bytes"] / 2**20)
    panels.label(x="Compressed width v")
    handles = [
        Line2D([], [], color=method_style(name).colour, lw=3, label=method_style(name).label) for name in methods
    ]
    for index, k in enumerate(cutoffs):
        colour = lighten(MUTED, 0.6 * (1 - (index + 1) / len(cutoffs)))
        handles.append(Line2D([], [], color=colour, marker=_MARKERS[index % len(_MARKERS)], label=f"k = {k}"))
    handles.append(Line2D([], [], color=MUTED, label="median latency"))
    handles.append(Line2D([], [], color=MUTED, linestyle=(0, (2, 1.5)), lw=1.0, label="95th percentile"))
    panels.legend(handles, columns=4)
    return panels.figure


def _finish(panel: Axes, title: str, positions: dict[str, float], values: pd.Series | None = None) -> None:
    """Label a panel; with ``values``, its y axis starts at zero or, over more than a decade, is a log axis."""
    panel.set_title(title)
    names = [f"{int(width):,}" if width.isdigit() else width or "-" for width in positions]
    panel.set_xticks(list(positions.values()), names)
    panel.margins(x=0.1)
    if values is None:
        return
    low, high = float(values.min()), float(values.max())
    if low > 0 and high / low > 20:
        panel.set_yscale("log")
        panel.yaxis.set_major_formatter("{x:g}")
    else:
        panel.set_ylim(0, high * 1.12 or 1.0)
