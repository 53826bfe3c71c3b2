"""How each attribution method is named and drawn, the same in every figure."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from dmin.figures.style import PALETTE


@dataclass(frozen=True)
class MethodStyle:
    """Name, line colour, marker and dash pattern of a method."""

    label: str
    colour: str
    marker: str
    dashes: tuple[float, ...]


_SOLID: tuple[float, ...] = ()
_DASHED = (4.0, 1.6)
_DOTTED = (1.2, 1.2)
_DASH_DOT = (4.0, 1.4, 1.2, 1.4)

# Methods of one family share a hue or its neighbour and differ by marker and dashes; DMin and its ablation without
# normalisation, the pair most often shown together, have the two most distant colours.
_STYLES: dict[str, MethodStyle] = {
    "none": MethodStyle("Nothing removed", "#1f2430", "|", _SOLID),
    "random": MethodStyle("Random", "#8a8f98", "x", _DOTTED),
    "class_matched": MethodStyle("Random, same classes", "#8a8f98", "+", _DASH_DOT),
    "thickest": MethodStyle("Thickest digits", "#D55E00", "^", _DASHED),
    "ssim": MethodStyle("SSIM", "#8A7A1E", "v", _DOTTED),
    "pixels": MethodStyle("Pixel cosine", "#8A7A1E", "D", _DASHED),
    "clip": MethodStyle("CLIP image cosine", "#E69F00", "^", _DASHED),
    "text": MethodStyle("Caption cosine", "#E69F00", "<", _DOTTED),
    "dmin": MethodStyle("DMin", "#0072B2", "o", _SOLID),
    "dmin_no_norm": MethodStyle("DMin, no normalisation", "#D55E00", "s", _DASHED),
    "dmin_renorm": MethodStyle("DMin, renormalised", "#3A7CA5", "v", _DASHED),
    "dmin_centred": MethodStyle("DMin, centred", "#56B4E9", "P", _SOLID),
    "dmin_weighted": MethodStyle("DMin, learned weights", "#56B4E9", "X", _DASH_DOT),
    "dmin_kernel": MethodStyle("DMin, kernel", "#004B74", "p", _DASH_DOT),
    "grad_dot": MethodStyle("Gradient dot product", "#CC79A7", "s", _DASHED),
    "grad_cos": MethodStyle("Gradient cosine", "#CC79A7", "o", _SOLID),
    "tracin": MethodStyle("TracIn", "#009E73", "s", _SOLID),
    "retrac": MethodStyle("ReTrac", "#00614A", "o", _SOLID),
    "tracin_final": MethodStyle("TracIn, final model", "#009E73", "D", _DASHED),
    "retrac_final": MethodStyle("ReTrac, final model", "#00614A", "^", _DASHED),
    "trak": MethodStyle("TRAK", "#8F4470", "o", _SOLID),
    "relative_if": MethodStyle("Relative IF", "#8F4470", "v", _DASHED),
    "renormalised_if": MethodStyle("Renormalised IF", "#8F4470", "^", _DASH_DOT),
    "dtrak": MethodStyle("D-TRAK", "#7A5BB0", "s", _SOLID),
    "dtrak_unit": MethodStyle("D-TRAK, unit gradients", "#7A5BB0", "D", _DASHED),
    "journey_trak": MethodStyle("Journey TRAK", "#7A5BB0", "P", _DOTTED),
    "datainf": MethodStyle("DataInf", "#8C3A00", "o", _SOLID),
    "lissa": MethodStyle("LiSSA", "#8C3A00", "^", _DASHED),
    "lissa_gram": MethodStyle("LiSSA, Gram", "#8C3A00", "D", _DASH_DOT),
}


def method_style(method: str) -> MethodStyle:
    """Return the style of a method; an unknown name keeps its name and gets a colour that depends on it alone."""
    known = _STYLES.get(method)
    if known is not None:
        return known
    colour = PALETTE[zlib.crc32(method.encode()) % len(PALETTE)]
    return MethodStyle(method.replace("_", " "), colour, "h", _DASH_DOT)


def order_methods(methods: set[str]) -> list[str]:
    """Sort method names: DMin and its variants first, then the order of the table of styles, then unknown ones."""
    position = {name: index for index, name in enumerate(_STYLES)}
    return sorted(methods, key=lambda name: (not name.startswith("dmin"), position.get(name, len(position)), name))
