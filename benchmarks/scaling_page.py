"""The page and the figure of the scaling benchmark, made from its table alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dmin.figures.colours import MUTED, PALETTE
from dmin.figures.panels import Panels
from dmin.figures.style import house_style, save_figure

_NAMES = {
    "compress": "compress {full} to {folded}",
    "read": "plain read, from memory",
    "scan": "exact top 100, 1 query, from memory",
    "scan_queries": "exact top 100, 16 queries, from memory",
    "read_cold": "plain read, from disk",
    "scan_cold": "exact top 100, 1 query, from disk",
    "build_index": "build the HNSW index, v = {folded}",
    "search_index": "search the index, 1 query, v = {folded}",
}
_DRAWN = ("compress", "scan", "read", "build_index", "search_index")

_INTRODUCTION = """# Growth with the training set

Made by `python benchmarks/scaling.py` from `scaling.csv`; `--page-only` writes this page again. Do not edit by hand.

Synthetic stores of one timestep at v = {full}, fp16: rows of random signs and magnitudes, half of each from one of
1,000 centres, in shards of 16,384 and as one array. Plain read is `read` of the same file into a buffer of 1 MiB; scan
and read take turns, and their ratio is the median over rounds. From disk: the file's pages are dropped beforehand; the
host's own cache may still hold them. Memory is the peak beyond what the process held before. The index is built at
v = {folded} by one thread, as the workflow does (M = 16, ef_construction = 200, ef = 500), since its time grows with v.

{hardware}, {threads} threads for the scan. Other processes shared the machine: the load was {load}.
Times and their growth hold that load and are upper bounds; the ratios, measured beside each other, are the result.

"""


def write_scaling_page(folder: Path) -> None:
    """Write ``scaling.md``, ``scaling.svg`` and ``scaling.png`` in ``folder`` from ``scaling.csv`` there."""
    table = pd.read_csv(folder / "scaling.csv")
    widths = {"full": int(table["width"].max()), "folded": int(table["width"].min())}
    names = {key: name.format(**widths) for key, name in _NAMES.items()}
    text = _INTRODUCTION.format(
        **widths,
        hardware=table["hardware"].iloc[0],
        threads=table["threads"].iloc[0],
        load=", ".join(f"{load:.0f} at {rows:,} rows" for rows, load in table.groupby("rows")["load"].mean().items()),
    )
    lines = ["| rows | what | time | GB/s | of a read | extra memory |", "|---:|---|---:|---:|---:|---:|"]
    for row in table.itertuples():
        streams = row.operation not in ("build_index", "search_index")
        lines.append(
            f"| {row.rows:,} | {names[str(row.operation)]} | {_seconds(row.seconds)} | "
            f"{_number(row.bytes / row.seconds / 1e9 if streams else np.nan, '.2f')} | "
            f"{_number(row.fraction_of_read if row.operation.startswith('scan') else np.nan, '.2f')} | "
            f"{_number(row.peak_extra_bytes / 2**20, ',.0f', ' MiB')} |"
        )
    recall = [f"{row.recall:.3f} at {row.rows:,} rows" for row in table.dropna(subset="recall").itertuples()]
    growth = "".join(f"- {names[key]}: {_growth(table, key)}\n" for key in _NAMES if _growth(table, key))
    (folder / "scaling.md").write_text(
        text
        + "![Time and memory against the number of rows](scaling.svg)\n\n"
        + "\n".join(lines)
        + (
            f"\n\nRecall of the index's 100 against the exact 100 at that width: {', '.join(recall)}.\n"
            if recall
            else "\n"
        )
        + (
            f"\n## Growth\n\nTime is proportional to rows to the power of, between the two largest sizes:\n\n{growth}"
            if growth
            else ""
        )
    )
    figure = _draw(table, names)
    save_figure(figure, [folder / "scaling.svg", folder / "scaling.png"], dpi=110)


@house_style
def _draw(table: pd.DataFrame, names: dict[str, str]) -> Figure:
    panels = Panels(2, 2, 3.6, 2.7, sharey=False)
    handles = []
    for colour, name in zip(PALETTE, _DRAWN, strict=False):
        rows = table[table["operation"] == name]
        if rows.empty:
            continue
        panels.axes[0].plot(rows["rows"], rows["seconds"], color=colour, marker="o")
        if rows["peak_extra_bytes"].notna().any():
            panels.axes[1].plot(rows["rows"], rows["peak_extra_bytes"] / 2**20, color=colour, marker="o")
        handles.append(Line2D([], [], color=colour, marker="o", label=names[name]))
    scans = table[table["operation"] == "scan"]
    panels.axes[1].plot(scans["rows"], scans["bytes"] / 2**20, color=MUTED, linestyle=(0, (2, 1.5)))
    handles.append(Line2D([], [], color=MUTED, linestyle=(0, (2, 1.5)), label="size of the store"))
    for panel, title in zip(panels.axes, ("Time, s", "Extra memory, MiB"), strict=True):
        panel.set(title=title, xscale="log", yscale="log")
    panels.label(x="Rows")
    panels.legend(handles, columns=2)
    return panels.figure


def _growth(table: pd.DataFrame, operation: str) -> str:
    rows = table[table["operation"] == operation].sort_values("rows").tail(2)
    if len(rows) < 2:
        return ""
    (small, large), (fast, slow) = rows["rows"], rows["seconds"]
    return f"{np.log(slow / fast) / np.log(large / small):.2f}"


def _seconds(value: float) -> str:
    return f"{value:.1f} s" if value >= 1 else f"{1000 * value:.2f} ms"


def _number(value: float, form: str, unit: str = "") -> str:
    return "" if np.isnan(value) else f"{value:{form}}{unit}"
