"""A figure of equal panels in rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


class Panels:
    """``count`` panels of ``width`` by ``height`` inches, at most ``columns`` per row.

    Panels that share the y axis show its tick labels only at the left edge.
    """

    def __init__(
        self, count: int, columns: int, width: float, height: float, sharey: bool | Literal["row"] = True
    ) -> None:
        self._columns = max(1, min(columns, count))
        rows = math.ceil(count / self._columns)
        self.figure = Figure(figsize=(width * self._columns, height * rows), layout="constrained")
        grid = list(self.figure.subplots(rows, self._columns, sharey=sharey, squeeze=False).flat)
        for unused in grid[count:]:
            unused.remove()
        self.axes: list[Axes] = grid[:count]

    def label(self, x: str = "", y: str = "") -> None:
        """Label the x axis of panels with nothing below them and the y axis of the first panel of each row."""
        for index, panel in enumerate(self.axes):
            panel.set_xlabel(x if index + self._columns >= len(self.axes) else "")
            panel.set_ylabel(y if index % self._columns == 0 else "")

    def legend(self, handles: Sequence[Artist], columns: int, title: str = "") -> None:
        """Put one legend under all panels and grow the figure by its rows, so that the panels keep their size.

        It has as many of ``columns`` as the figure is wide enough for.
        """
        renderer, width = FigureCanvasAgg(self.figure).get_renderer(), self.figure.get_figwidth() * self.figure.dpi
        columns = min(columns, len(handles))
        while True:
            legend = self.figure.legend(
                handles=[*handles],
                title=title or None,
                loc="outside lower center",
                ncols=columns,
                handlelength=2.6,
                columnspacing=1.8,
            )
            if columns <= 1 or legend.get_window_extent(renderer).width <= width:
                break
            legend.remove()
            columns -= 1
        rows = math.ceil(len(handles) / max(1, columns)) + bool(title)
        self.figure.set_figheight(self.figure.get_figheight() + 0.15 + 0.19 * rows)
