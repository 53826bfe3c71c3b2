"""The worked example of docs/scaling.md: 100 million images, from the plan's formulas and the measured speeds.

``python benchmarks/scaling_example.py`` writes its tables again.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dmin.plan.memory import cache_bytes, index_bytes

PAGE = Path(__file__).resolve().parents[1] / "docs" / "scaling.md"
RESULTS = Path(__file__).resolve().parent / "results" / "scaling.csv"
BEGIN, END = "<!-- sizes -->", "<!-- /sizes -->"
IMAGES, PART, WIDTH, LINKS = 100_000_000, 1_000_000, 4096, 16
# Rows that one gradient job should take, in minutes of its GPU.
JOB_MINUTES = 60
RATES = (10, 100, 1000)


def render_tables(measured: pd.DataFrame) -> str:
    """Return both tables in Markdown, from the rows of ``scaling.csv``."""
    largest = measured[measured["rows"] == measured["rows"].max()].set_index("operation")
    speed = {
        name: largest.loc[name, "bytes"] / largest.loc[name, "seconds"] for name in ("scan", "scan_cold", "compress")
    }
    heads = [
        "stored as", "per image", "100 million", "a part of 1 million", "a query, a part, from memory",
        "a query, all parts, from disk", "folding it", "HNSW index",
    ]  # fmt: skip
    lines = [_line(heads), _line(["---", *["---:"] * 7])]
    for steps in (5, 1):
        index = _size(index_bytes(IMAGES, steps * WIDTH, LINKS))
        for name, row in (("fp16", cache_bytes(1, steps, WIDTH, 0, False)), ("int8", steps * (WIDTH + 4 + 4))):
            total = row * IMAGES
            # Only float16 was scanned.
            times = [total / 100 / speed["scan"], total / speed["scan_cold"], total / speed["compress"]]
            shown = [_time(value) for value in times] if name == "fp16" else ["", "", ""]
            cells = [f"T = {steps}, {name}", _size(row), _size(total), _size(total / 100), *shown]
            lines.append(_line([*cells, index if name == "fp16" else ""]))
    lines += ["", _line(["gradients/s of a GPU", "T", "evaluations", "GPU hours", "images per shard", "shards = jobs"])]
    lines.append(_line(["---:"] * 6))
    for steps in (5, 1):
        for rate in RATES:
            shard = rate * JOB_MINUTES * 60 // steps
            hours = IMAGES * steps / rate / 3600
            cells = [f"{rate:,}", str(steps), f"{IMAGES * steps:,}", f"{hours:,.0f}", f"{shard:,}"]
            lines.append(_line([*cells, f"{-(-PART // shard) * (IMAGES // PART):,}"]))
    return "\n".join(lines)


def update_page(page: Path, measured: pd.DataFrame) -> None:
    """Put the tables between the markers of a page."""
    head, _, rest = page.read_text().partition(BEGIN)
    page.write_text(f"{head}{BEGIN}\n{render_tables(measured)}\n{END}{rest.partition(END)[2]}")


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _size(value: float) -> str:
    for unit, scale in (("TB", 1e12), ("GB", 1e9)):
        if value >= scale:
            return f"{value / scale:.2f} {unit}"
    return f"{value / 1e3:.1f} kB"


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


if __name__ == "__main__":
    update_page(PAGE, pd.read_csv(RESULTS))
