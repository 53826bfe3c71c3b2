"""The table of searches in docs/scaling.md, from the measurements."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from page_part import SCALING, write_part

_NAMES = {"exact": "exact scan", "cascade": "cascade", "hnsw": "HNSW, M = 16, ef = 500"}


def write_search_table(table: pd.DataFrame, page: Path = SCALING) -> None:
    """Write the table between the marks ``<!-- search -->`` of the page."""
    write_part(page, "search", search_table(table))


def search_table(table: pd.DataFrame) -> str:
    """Return a row per store and search."""
    lines = [
        "| rows x values | search | p50, ms | p95, ms | recall at 20 | wrong | told | looked at | build, s | MiB |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in table.to_dict("records"):
        certified = row["backend"] == "cascade"
        name = _NAMES[row["backend"]] + (f", rank {row['rank']:.0f}" if certified else "")
        told = f"{row['expected_wrong']:.2f} | {row['looked']:,.0f}" if certified else " | "
        built = "|" if row["backend"] == "exact" else f"{row['build_seconds']:,.1f} | {row['index_bytes'] / 2**20:,.0f}"
        lines.append(
            f"| {row['rows']:,} x {row['dimension']:,} | {name} | {row['p50_ms']:,.2f} | {row['p95_ms']:,.2f} | "
            f"{row['recall']:.4f} | {row['wrong_lists']} of {row['queries']:,} | {told} | {built} |"
        )
    return "\n".join(lines) + "\n"
