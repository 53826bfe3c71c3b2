"""The table of memory in docs/scaling.md, from the measurements."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from page_part import SCALING, write_part

TARGET = 100_000


def write_memory_table(table: pd.DataFrame, page: Path = SCALING) -> None:
    """Write the table between the marks ``<!-- memory -->`` of the page."""
    write_part(page, "memory", memory_table(table))


def memory_table(table: pd.DataFrame) -> str:
    """Return a row per job: its own memory at each size, kB per image between the two largest, and what follows."""
    sizes = sorted(table["images"].unique())
    heads = [f"{size:,}" for size in sizes]
    lines = [
        f"| job | {' | '.join(f'MB at {head}' for head in heads)} | mapped | kB per image | GB at {TARGET:,} |",
        "|---|" + "---:|" * (len(sizes) + 3),
    ]
    for job, rows in table.groupby("job", sort=False):
        by_size = rows.set_index("images")["own_mb"]
        cells = [f"{by_size[size]:,.0f}" if size in by_size else "" for size in sizes]
        last = rows.sort_values("images").iloc[-1]
        slope = _slope(by_size)
        total = (by_size.iloc[-1] + slope * (TARGET - by_size.index[-1])) / 1000
        mapped = max(0.0, last["resident_mb"] - last["own_mb"])
        lines.append(f"| `{job}` | {' | '.join(cells)} | {mapped:,.0f} | {1000 * slope:,.1f} | {total:,.2f} |")
    return "\n".join(lines) + "\n"


def _slope(by_size: pd.Series) -> float:
    """Return MB per image between the two largest sizes; allocation is lumpy, and less for more images is none."""
    (few, less), (many, more) = list(by_size.sort_index().items())[-2:]
    return max(0.0, float(more - less) / float(many - few))  # type: ignore[operator, arg-type]
