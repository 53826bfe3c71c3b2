"""The table of growth in docs/scaling.md, from the measurements."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
from page_part import SCALING, write_part


def write_growth_table(table: pd.DataFrame, page: Path = SCALING) -> None:
    """Write the table between the marks ``<!-- growth -->`` of the page."""
    write_part(page, "growth", growth_table(table))


def growth_table(table: pd.DataFrame) -> str:
    """Return a row per job: CPU-seconds and own memory at each size, and the exponent of the growth of the former."""
    sizes = sorted(table["images"].unique())
    heads = [f"CPU-s at {size:,} | MB" for size in sizes]
    lines = [f"| job | {' | '.join(heads)} | grows as images^ |", "|---|" + "---:|" * (2 * len(sizes) + 1)]
    for job, rows in table.groupby("job", sort=False):
        by_size = rows.set_index("images")
        cells = [
            f"{by_size['cpu_seconds'][size]:,.2f} | {by_size['own_mb'][size]:,.0f}" if size in by_size.index else " | "
            for size in sizes
        ]
        lines.append(f"| `{job}` | {' | '.join(cells)} | {exponent(by_size['cpu_seconds']):.2f} |")
    return "\n".join(lines) + "\n"


def exponent(seconds: pd.Series) -> float:
    """Return x of seconds ~ images^x between the two largest sizes; NaN for one."""
    if len(seconds) < 2:
        return float("nan")
    (few, before), (many, after) = list(seconds.sort_index().items())[-2:]
    return math.log(after / before) / math.log(float(many) / float(few))  # type: ignore[arg-type]
