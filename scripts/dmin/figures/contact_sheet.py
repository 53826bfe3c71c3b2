"""All generated images of a run on one sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from dmin.figures.canvas import Canvas, wrap_caption
from dmin.figures.colours import MUTED, subset_colours
from dmin.figures.style import house_style
from dmin.runtime.errors import UserError

_COLUMNS = 10
_CELL = 0.9
_GAP = 0.14
_MARGIN = 0.2
_CAPTION = 0.36
_HEADING = 0.36


@house_style
def plot_contact_sheet(images: Sequence[np.ndarray], prompts: Sequence[str], subsets: Sequence[str]) -> Figure:
    """Draw every generated image under the heading of its subset, with its shortened prompt.

    Args:
        images: uint8 ``[height, width, 3]`` each.
        prompts: prompt of each image.
        subsets: subset of each image.

    Raises:
        UserError: there are no images or the three sequences differ in length.
    """
    if not images:
        raise UserError("There are no generated images to show; generate at least one query.")
    if not len(images) == len(prompts) == len(subsets):
        raise UserError(
            f"The contact sheet got {len(images)} images, {len(prompts)} prompts and {len(subsets)} subsets; make "
            "queries.parquet again."
        )
    names = sorted({*subsets})
    colours = subset_colours(names)
    members = {name: [index for index, subset in enumerate(subsets) if subset == name] for name in names}
    columns = min(_COLUMNS, max(len(indices) for indices in members.values()))
    row_height = _CELL + _CAPTION
    rows = sum(math.ceil(len(indices) / columns) for indices in members.values())
    width = max(2 * _MARGIN + columns * (_CELL + _GAP) - _GAP, 3.0)
    canvas = Canvas(width, 2 * _MARGIN + len(names) * _HEADING + rows * row_height)
    y = _MARGIN
    for name in names:
        indices = members[name]
        canvas.bar((_MARGIN, y + 0.02), 0.05, 0.16, colours[name])
        canvas.text(name, (_MARGIN + 0.12, y + 0.015), size=9.5, bold=True)
        count = f"{len(indices)} image" + ("s" if len(indices) != 1 else "")
        canvas.text(count, (width - _MARGIN, y + 0.03), size=7.5, colour=MUTED, align="right")
        y += _HEADING - 0.08
        for place, index in enumerate(indices):
            x = _MARGIN + place % columns * (_CELL + _GAP)
            top = y + place // columns * row_height
            canvas.image(images[index], (x, top), _CELL)
            canvas.text(wrap_caption(prompts[index], _CELL, 5.8, 3), (x, top + _CELL + 0.04), size=5.8)
        y += math.ceil(len(indices) / columns) * row_height + 0.08
    return canvas.figure
