"""Where the texts of a figure stand once it is drawn: which are cut by the canvas, and which lie on each other."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any
from unittest.mock import patch

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

# Pixels that a text may touch another's box or the edge by: boxes are those of lines, with room above short letters.
_SLACK = 1.0
_ROOM = 0.17


def faults(figure: Figure) -> list[str]:
    """Return a sentence for every text that is cut by the edge of the figure or overlaps another one."""
    found = []
    boxes = list(_boxes(figure))
    width, height = figure.bbox.width, figure.bbox.height
    for text, box in boxes:
        if box.x0 < -_SLACK or box.y0 < -_SLACK or box.x1 > width + _SLACK or box.y1 > height + _SLACK:
            found.append(f"'{text}' is cut")
    for (text, box), (other, its) in combinations(boxes, 2):
        if min(box.x1, its.x1) - max(box.x0, its.x0) > _SLACK and min(box.y1, its.y1) - max(box.y0, its.y0) > _SLACK:
            found.append(f"'{text}' overlaps '{other}'")
    return found


def _boxes(figure: Figure) -> Iterator[tuple[str, Bbox]]:
    """Yield every text that is drawn, which not all labels of ticks are, with the box of its letters in pixels."""
    drawn: list[Text] = []
    draw = Text.draw

    def record(self: Text, renderer: Any, *args: Any, **kwargs: Any) -> None:
        if self.get_visible() and self.get_text().strip():
            drawn.append(self)
        draw(self, renderer, *args, **kwargs)

    canvas = FigureCanvasAgg(figure)
    with patch.object(Text, "draw", record):
        canvas.draw()
    for text in dict.fromkeys(drawn):
        box = text.get_window_extent(canvas.get_renderer())
        across = text.get_rotation() % 180 == 90
        trim = _ROOM * (box.width if across else box.height)
        sides = (trim, 0) if across else (0, trim)
        yield (
            text.get_text(),
            Bbox.from_extents(box.x0 + sides[0], box.y0 + sides[1], box.x1 - sides[0], box.y1 - sides[1]),
        )
