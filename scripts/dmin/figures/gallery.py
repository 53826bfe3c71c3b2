"""Generated images beside the training images that shaped them most and least."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.figure import Figure

from dmin.figures.canvas import Canvas, Place, quote, wrap_caption
from dmin.figures.colours import FAINT, INK, MUTED, RELATION_COLOURS, RELATION_NAMES, relation
from dmin.figures.gallery_entry import GalleryEntry, GalleryItem
from dmin.figures.style import house_style
from dmin.runtime.errors import UserError

__all__ = ["GalleryEntry", "GalleryItem", "plot_gallery"]

_MARGIN = 0.2
_LARGE = 1.3
_SMALL = 0.92
_GAP = 0.16
_GROUP_GAP = 0.34
_HEAD = 0.86
_ROW = 1.86
_FOOT = 0.14
_MINUS = "\N{MINUS SIGN}"


@house_style
def plot_gallery(entries: Sequence[GalleryEntry], title: str) -> Figure:
    """Draw one row per query: the generated image, then its most and its least influential training images.

    The frame and the words under each of the most influential images name its subset and tell hits (the subset of the
    query), others and noised copies apart; where the subset of a query is unknown, they name its file and tell noised
    copies alone. Of the least influential ones none is a hit: only their subsets or files are named.

    Args:
        entries: the rows, usually queries of one subset; rows may have different numbers of images.
        title: heading of the figure.

    Raises:
        UserError: there are no entries.
    """
    if not entries:
        raise UserError("The gallery has no queries to show; generate at least one query for its subset.")
    most = max(len(entry.most) for entry in entries)
    least = max(len(entry.least) for entry in entries)
    pitch = _SMALL + _GAP
    most_left = _MARGIN + _LARGE + _GROUP_GAP
    least_left = most_left + most * pitch - _GAP + _GROUP_GAP
    right = least_left + least * pitch - _GAP if least else least_left - _GROUP_GAP
    width = max(right + _MARGIN, 5.2)
    canvas = Canvas(width, _HEAD + _ROW * len(entries) + _FOOT)
    canvas.text(title, (_MARGIN, 0.17), size=11, bold=True)
    _legend(canvas, width - _MARGIN, [relation(entry.subset, item.subset) for entry in entries for item in entry.most])
    canvas.text("Generated", (_MARGIN, 0.55), size=8, colour=MUTED, bold=True)
    if most:
        canvas.text("Most influential training images", (most_left, 0.55), size=8, colour=MUTED, bold=True)
    if least:
        canvas.text("Least influential", (least_left, 0.55), size=8, colour=MUTED, bold=True)
    decimals = _decimals([item.score for entry in entries for item in (*entry.most, *entry.least)])
    for row, entry in enumerate(entries):
        top = _HEAD + row * _ROW
        if row:
            canvas.bar((_MARGIN, top - 0.115), width - 2 * _MARGIN, 0.008, FAINT)
        canvas.image(entry.image, (_MARGIN, top), _LARGE)
        canvas.text(wrap_caption(quote(entry.prompt), _LARGE, 7, 3), (_MARGIN, top + _LARGE + 0.05), size=7)
        for left, items, ranked_first in ((most_left, entry.most, True), (least_left, entry.least, False)):
            for index, item in enumerate(items):
                kind = relation(entry.subset, item.subset) if ranked_first else ""
                _draw_item(canvas, item, _Mark.of(item, kind, entry.subset), (left + index * pitch, top), decimals)
    return canvas.figure


class _Mark(NamedTuple):
    """How a training image is marked: words, and its frame."""

    words: str
    colour: str
    dashed: bool

    @classmethod
    def of(cls, item: GalleryItem, kind: str, query_subset: str | None) -> _Mark:
        """Return the mark of an image that relates to its query by ``kind``, empty where it is not to be told."""
        if not kind:
            return cls(item.file if query_subset is None else item.subset, MUTED, dashed=False)
        words = {"hit": f"{item.subset} (hit)", "noise": RELATION_NAMES["noise"], "unknown": item.file}
        return cls(words.get(kind, item.subset), RELATION_COLOURS[kind], kind in ("other", "noise"))


def _draw_item(canvas: Canvas, item: GalleryItem, mark: _Mark, at: Place, decimals: str) -> None:
    x, y = at
    canvas.image(item.image, at, _SMALL)
    canvas.frame(at, _SMALL, mark.colour, dashed=mark.dashed)
    canvas.text(format(item.score, decimals).replace("-", _MINUS), (x, y + _SMALL + 0.06), size=7.5, bold=True)
    words = wrap_caption(mark.words, _SMALL, 6.2, 1)
    canvas.text(words, (x, y + _SMALL + 0.2), size=6.2, colour=mark.colour, bold=True)
    canvas.text(wrap_caption(item.caption, _SMALL, 6.2, 4), (x, y + _SMALL + 0.32), size=6.2, colour=INK)


def _decimals(scores: Sequence[float]) -> str:
    """Choose one number format for all scores: three digits for the largest, powers of ten for very small ones."""
    largest = max((abs(score) for score in scores), default=0.0)
    if largest == 0:
        return ".2f"
    digits = 2 - math.floor(math.log10(largest))
    return ".2e" if digits > 5 else f".{max(0, digits)}f"


def _legend(canvas: Canvas, right: float, kinds: Sequence[str]) -> None:
    """Explain the frames; where no subset is known, those of noised copies, if there are any."""
    entries = [("noise", "noised copy", 0.82), ("other", "other subset", 0.86), ("hit", "same subset (hit)", 1.1)]
    if "unknown" in kinds:
        entries = entries[:1] if "noise" in kinds else []
    x = right
    for kind, label, length in entries:
        x -= length + 0.1
        canvas.frame((x - 0.11, 0.225), 0.07, RELATION_COLOURS[kind], width=1.4, dashed=kind != "hit")
        canvas.text(label, (x + 0.05, 0.205), size=7.5, colour=MUTED)
        x -= 0.2
