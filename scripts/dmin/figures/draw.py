"""From a table on disk to a figure on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from dmin.figures.style import save_figure


def draw_table(plot: Callable[[pd.DataFrame], Figure], table: str, outputs: Iterable[str], dpi: int) -> None:
    """Read a CSV table, plot it and write the figure to every output."""
    # An empty v is a method without a width; anything else in that column is text. Tables without it are unaffected.
    frame = pd.read_csv(table, dtype={"v": "string"})
    save_figure(plot(frame), [Path(path) for path in outputs], dpi)
