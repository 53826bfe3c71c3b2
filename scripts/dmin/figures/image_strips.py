"""Images of one noise side by side, as each of several models generates them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from dmin.data.samples import read_samples, sample_images
from dmin.figures.canvas import Canvas, wrap_caption
from dmin.figures.colours import MUTED
from dmin.figures.methods import method_style
from dmin.figures.style import house_style, save_figure
from dmin.retraining.regenerated import read_regenerated
from dmin.runtime.errors import UserError

_CELL, _GAP, _MARGIN, _LABEL, _HEADING = 0.62, 0.06, 0.15, 1.45, 0.3
# Noises that a strip of many shows.
_SHOWN = 14


@house_style
def plot_image_strips(rows: Sequence[tuple[str, Sequence[np.ndarray]]], note: str) -> Figure:
    """Draw a labelled row of images for every model, one column per noise.

    Args:
        rows: label and uint8 images ``[height, width, channels]`` of each row, all as many.
        note: a line above them.

    Raises:
        UserError: there is no row, or the rows differ in length.
    """
    if not rows or len({len(images) for _, images in rows}) != 1 or not rows[0][1]:
        raise UserError("The rows of a picture strip have no images or differ in length; make their images again.")
    width = 2 * _MARGIN + _LABEL + len(rows[0][1]) * (_CELL + _GAP)
    canvas = Canvas(max(width, 4.5), 2 * _MARGIN + _HEADING + len(rows) * (_CELL + _GAP))
    canvas.text(note, (_MARGIN, _MARGIN), size=7.5, colour=MUTED)
    for line, (label, images) in enumerate(rows):
        y = _MARGIN + _HEADING + line * (_CELL + _GAP)
        canvas.text(wrap_caption(label, _LABEL - 0.1, 8.0, 3), (_MARGIN, y + 0.12), size=8.0)
        for place, pixels in enumerate(images):
            canvas.image(pixels, (_MARGIN + _LABEL + place * (_CELL + _GAP), y), _CELL)
    return canvas.figure


def draw_removal_images(parts: Mapping[str, list[Path]], queries: Path, outputs: Sequence[Path], dpi: int) -> None:
    """Draw every query as it was, with nothing removed, and after every removal, by the first training seed.

    Args:
        parts: see :func:`read_regenerated`. Of random removals the first draw is shown.
    """
    rows = _strips(parts, queries, None)
    save_figure(plot_image_strips(rows, "One column per query; the same noise throughout a column"), outputs, dpi)


def draw_thickness_images(parts: Mapping[str, list[Path]], queries: Path, outputs: Sequence[Path], dpi: int) -> None:
    """Draw what the first noises gave before and after every removal, by the first training seed."""
    rows = _strips(parts, queries, _SHOWN)
    save_figure(plot_image_strips(rows, "The same noise throughout a column"), outputs, dpi)


def _strips(parts: Mapping[str, list[Path]], queries: Path, most: int | None) -> list[tuple[str, list[np.ndarray]]]:
    images = read_regenerated(parts)
    images = images[images["repeat"] == images["repeat"].min()].sort_values("set", kind="stable")
    images = images.drop_duplicates(["method", "id"])
    originals = read_samples(queries, ["id", "image"]).set_index("id")
    # A removal that was left out of the study has no images of its queries; those queries are not shown.
    shared = set.intersection(*(set(part["id"]) for _, part in images.groupby("method")))
    ids = [name for name in originals.index if name in shared][:most]
    rows = [("Original model", sample_images(originals.loc[ids].reset_index()))]
    for method in parts:
        part = images[images["method"] == method].set_index("id").loc[ids].reset_index()
        rows.append((method_style(method).label, sample_images(part)))
    return rows
