"""One generated image and the training images that every method ranks first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from dmin.figures.canvas import Canvas, quote, wrap_caption
from dmin.figures.colours import FAINT, RELATION_COLOURS, relation
from dmin.figures.gallery_entry import GalleryItem
from dmin.figures.methods import method_style, order_methods
from dmin.figures.style import house_style
from dmin.runtime.errors import UserError

_MARGIN = 0.2
_LARGE = 1.3
_SMALL = 0.8
_GAP = 0.13
_NAMES = 1.75
_HEAD = 0.55
_ROW = 1.02


@house_style
def plot_method_gallery(
    image: np.ndarray, prompt: str, subset: str | None, ranked: Mapping[str, Sequence[GalleryItem]], title: str
) -> Figure:
    """Draw the generated ``image`` (uint8 ``[height, width, 3]``) and one row of training images per method.

    Args:
        subset: of the query; frames tell its own subset, others and noised copies apart. Where it is None, they tell
            noised copies alone.
        ranked: the highest-ranked training images of each method, the first first.

    Raises:
        UserError: there is no method.
    """
    if not ranked:
        raise UserError("The gallery has no methods to show; list at least one in influence.methods.")
    left = _MARGIN + _LARGE + 0.3
    most = max(len(items) for items in ranked.values())
    width = left + _NAMES + most * (_SMALL + _GAP) + _MARGIN
    canvas = Canvas(width, max(_HEAD + _ROW * len(ranked), _HEAD + _LARGE + 0.6))
    canvas.text(title, (_MARGIN, 0.17), size=11, bold=True)
    canvas.image(image, (_MARGIN, _HEAD), _LARGE)
    canvas.text(wrap_caption(quote(prompt), _LARGE, 7, 4), (_MARGIN, _HEAD + _LARGE + 0.06), size=7)
    for row, method in enumerate(order_methods(ranked)):
        top = _HEAD + row * _ROW
        if row:
            canvas.bar((left, top - 0.09), width - left - _MARGIN, 0.008, FAINT)
        canvas.text(wrap_caption(method_style(method).label, _NAMES, 8.5, 2), (left, top + 0.26), size=8.5, bold=True)
        for place, item in enumerate(ranked[method]):
            at = (left + _NAMES + place * (_SMALL + _GAP), top)
            kind = relation(subset, item.subset)
            canvas.image(item.image, at, _SMALL)
            canvas.frame(at, _SMALL, RELATION_COLOURS[kind], dashed=kind in ("other", "noise"))
    return canvas.figure
