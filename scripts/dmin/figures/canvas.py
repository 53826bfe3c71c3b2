"""A page measured in inches, for figures made of images and text."""

from __future__ import annotations

import textwrap
from typing import Literal

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from dmin.figures.colours import INK
from dmin.runtime.text import drawable

_SHARP_BELOW = 96
_LARGEST = 256
# Mean advance of DejaVu Sans as a share of the font size; captions are wrapped by it, so wrapping needs no renderer.
_ADVANCE = 0.56


# x and y in inches from the upper left corner.
Place = tuple[float, float]


class Canvas:
    """A figure with one coordinate system: inches from the upper left corner, y downwards."""

    def __init__(self, width: float, height: float) -> None:
        self.figure = Figure(figsize=(width, height))
        self._axes = self.figure.add_axes((0.0, 0.0, 1.0, 1.0))
        self._axes.set_xlim(0, width)
        self._axes.set_ylim(height, 0)
        self._axes.axis("off")

    def image(self, pixels: np.ndarray, at: Place, size: float) -> None:
        """Place a uint8 image ``[height, width, 3 or 1]`` in a square cell, centred, keeping its aspect ratio."""
        pixels = _resize(np.asarray(pixels, dtype=np.uint8))
        height, width = pixels.shape[:2]
        (x, y), scale = at, size / max(height, width)
        left, top = x + (size - width * scale) / 2, y + (size - height * scale) / 2
        # matplotlib's own resampling would blur small images; they are enlarged beforehand.
        self._axes.imshow(
            pixels,
            extent=(left, left + width * scale, top + height * scale, top),
            interpolation="antialiased",
            aspect="auto",
            zorder=2,
        )

    def frame(self, at: Place, size: float, colour: str, width: float = 1.6, dashed: bool = False) -> None:
        """Draw a square frame just outside a cell."""
        (x, y), gap = at, 0.025
        self._axes.add_patch(
            Rectangle(
                (x - gap, y - gap),
                size + 2 * gap,
                size + 2 * gap,
                fill=False,
                edgecolor=colour,
                linewidth=width,
                linestyle=(0, (2.2, 1.6)) if dashed else "solid",
                joinstyle="miter",
                zorder=3,
            )
        )

    def bar(self, at: Place, width: float, height: float, colour: str) -> None:
        """Fill a rectangle."""
        self._axes.add_patch(Rectangle(at, width, height, facecolor=colour, linewidth=0, zorder=1))

    def text(
        self,
        text: str,
        at: Place,
        size: float = 7.0,
        colour: str = INK,
        bold: bool = False,
        align: Literal["left", "center", "right"] = "left",
    ) -> None:
        """Write text whose upper edge is at the place; characters special to matplotlib are taken literally.

        Control characters, which no figure can hold, are marked.
        """
        x, y = at
        # Lines are placed by their baselines: aligned by their upper edges, lines without tall letters would rise.
        for index, line in enumerate(drawable(text).split("\n")):
            self._axes.text(
                x,
                y + size / 72 * (0.8 + 1.17 * index),
                line,
                fontsize=size,
                color=colour,
                fontweight="bold" if bold else "normal",
                ha=align,
                va="baseline",
                parse_math=False,
                zorder=4,
            )


def wrap_caption(text: str, width: float, size: float, lines: int) -> str:
    """Wrap text into at most ``lines`` lines of ``width`` inches at ``size`` points; an ellipsis marks what is cut."""
    characters = max(4, int(width * 72 / (size * _ADVANCE)))
    wrapped = textwrap.wrap(" ".join(text.split()), characters, break_long_words=True)
    if len(wrapped) <= lines:
        return "\n".join(wrapped)
    last = wrapped[lines - 1]
    return "\n".join([*wrapped[: lines - 1], last[: characters - 1].rstrip() + "…"])


def quote(prompt: str) -> str:
    """Return a prompt in quotation marks; nothing for an unconditional model's empty one."""
    return f"“{prompt}”" if prompt else ""


def _resize(pixels: np.ndarray) -> np.ndarray:
    """Repeat the pixels of a small image, so that they stay sharp squares in print; shrink a large one."""
    if pixels.shape[2] == 1:
        pixels = pixels.repeat(3, axis=2)
    height, width = pixels.shape[:2]
    side = max(height, width)
    if side < _SHARP_BELOW:
        factor = -(-2 * _SHARP_BELOW // side)
        return pixels.repeat(factor, axis=0).repeat(factor, axis=1)
    if side > _LARGEST:
        size = (max(1, round(width * _LARGEST / side)), max(1, round(height * _LARGEST / side)))
        return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
    return pixels
