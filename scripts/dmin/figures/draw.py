"""From tables on disk to a figure on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from dmin.figures.style import save_figure
from dmin.runtime.readers import read_csv


def draw_table(plot: Callable[[pd.DataFrame], Figure], table: str, outputs: Iterable[str], dpi: int) -> None:
    """Read a CSV table, plot it and write the figure to every output."""
    draw_tables(plot, [table], outputs, dpi)


def draw_tables(plot: Callable[..., Figure], tables: Sequence[str], outputs: Iterable[str], dpi: int) -> None:
    """Read CSV tables, plot them together and write the figure to every output."""
    # An empty v is a method without a width; anything else in that column is text. Tables without it are unaffected.
    frames = [read_csv(Path(table), dtype={"v": "string"}) for table in tables]
    save_figure(plot(*frames), [Path(path) for path in outputs], dpi)
