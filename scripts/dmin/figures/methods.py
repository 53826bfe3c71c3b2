"""How each attribution method is named and drawn, the same in every figure."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from dmin.catalogue.methods import METHODS
from dmin.figures.colours import PALETTE, lighten
from dmin.retraining.removal_names import NONE

if TYPE_CHECKING:
    from matplotlib.lines import Line2D

Dashes = tuple[float, ...]

LINES: Mapping[str, Dashes] = {
    "solid": (),
    "dashed": (4.0, 1.6),
    "dotted": (1.2, 1.2),
    "dashdot": (4.0, 1.4, 1.2, 1.4),
}


@dataclass(frozen=True)
class MethodStyle:
    """Name, line colour, marker and dash pattern of a method; no dashes are a solid line."""

    label: str
    colour: str
    marker: str
    dashes: Dashes

    @property
    def line(self) -> tuple[float, Dashes] | Literal["solid"]:
        """The pattern as matplotlib's ``linestyle``."""
        return (0.0, self.dashes) if self.dashes else "solid"

    @property
    def level(self) -> tuple[float, Dashes]:
        """The pattern of a level line across a panel, which is never solid."""
        return 0.0, self.dashes or LINES["dashed"]

    def handle(self, **line: Any) -> Line2D:
        """Return an entry of a legend; ``line`` is what differs from the style, as matplotlib names it."""
        from matplotlib.lines import Line2D  # here, so that pages start without it

        drawn = {"color": self.colour, "marker": self.marker, "linestyle": self.line, "label": self.label}
        return Line2D([], [], **{**drawn, **line})


# What studies of removal show beside methods.
_CONTROLS: Mapping[str, MethodStyle] = {
    NONE: MethodStyle("Nothing removed", "#1f2430", "|", LINES["solid"]),
    "class_matched": MethodStyle("Random, same classes", "#8a8f98", "+", LINES["dashdot"]),
    "thickest": MethodStyle("Thickest digits", "#D55E00", "^", LINES["dashed"]),
}
# The order of methods in figures, by what they read; DMin and its variants stand before all others.
_READS = ("nothing", "samples", "taught", "gradients", "checkpoints", "scores")


def method_style(method: str) -> MethodStyle:
    """Return the style of a method; one without a look in the catalogue gets a colour that depends on its name alone.

    Methods of one family share a hue or its neighbour and differ by marker and dashes; DMin and its ablation without
    normalisation, the pair most often shown together, have the two most distant colours.
    """
    if method in _CONTROLS:
        return _CONTROLS[method]
    entry = METHODS.get(method)
    label = entry.label if entry else method.replace("_", " ")
    if entry is None or entry.look is None:
        colour = PALETTE[zlib.crc32(method.encode()) % len(PALETTE)]
        return MethodStyle(label, colour, "h", LINES["dashdot"])
    colour, marker, line = entry.look
    return MethodStyle(label, colour, marker, LINES[line])


def order_methods(methods: Iterable[str]) -> list[str]:
    """Sort method names: DMin and its variants, then by what they read and by label; controls and unknown ones last."""

    def key(name: str) -> tuple[bool, int, str]:
        entry = METHODS.get(name)
        place = _READS.index(entry.inputs) if entry else len(_READS)
        return not name.startswith("dmin"), place, method_style(name).label.lower()

    return sorted(methods, key=key)


def width_shade(colour: str, place: int, count: int) -> str:
    """Return the colour of the width at ``place`` among ``count``, narrowest first: the narrower, the lighter."""
    return lighten(colour, 0.0 if count == 1 else 0.62 * (1 - place / (count - 1)))
