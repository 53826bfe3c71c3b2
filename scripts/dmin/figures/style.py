"""The house style of every figure and the one way to save a figure."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import matplotlib

matplotlib.use("Agg")

from matplotlib.figure import Figure

from dmin.figures.colours import FAINT, INK, MUTED
from dmin.runtime.atomic import atomic_path

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")

_DPI = 200


def _house_parameters() -> dict[Any, Any]:
    return {
        # As seaborn's style ticks and context paper have them.
        "patch.edgecolor": "w",
        "patch.force_edgecolor": True,
        "patch.linewidth": 0.8,
        "xtick.direction": "out",
        "ytick.direction": "out",
        "xtick.major.width": 1.0,
        "ytick.major.width": 1.0,
        "xtick.minor.width": 0.8,
        "ytick.minor.width": 0.8,
        "grid.linestyle": "-",
        "axes.spines.left": True,
        "axes.spines.bottom": True,
        "font.family": ["sans-serif"],
        # DejaVu Sans ships with matplotlib, so the layout is the same on every machine.
        "font.sans-serif": ["DejaVu Sans"],
        "font.size": 9.0,
        "axes.titlesize": 9.5,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.titlepad": 6.0,
        "axes.labelsize": 9.0,
        "xtick.labelsize": 8.0,
        "ytick.labelsize": 8.0,
        "legend.fontsize": 8.5,
        "legend.title_fontsize": 8.5,
        "legend.frameon": False,
        "figure.titlesize": 11.0,
        "figure.titleweight": "bold",
        "figure.facecolor": "white",
        "savefig.facecolor": "white",
        "figure.dpi": _DPI,
        "axes.facecolor": "white",
        "axes.edgecolor": MUTED,
        "axes.labelcolor": INK,
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "axes.axisbelow": True,
        "grid.color": FAINT,
        "grid.linewidth": 0.6,
        "text.color": INK,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "xtick.major.size": 3.0,
        "ytick.major.size": 0.0,
        "xtick.minor.size": 0.0,
        "ytick.minor.size": 0.0,
        "lines.linewidth": 1.6,
        "lines.markersize": 4.5,
        "lines.solid_capstyle": "round",
        "svg.fonttype": "none",
        # Element ids are hashed with this salt; a fixed one makes equal figures equal bytes.
        "svg.hashsalt": "dmin",
        "svg.image_inline": True,
        "image.composite_image": False,
    }


def house_style(function: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
    """Run a function under the house style and leave matplotlib's global settings as they were."""

    @functools.wraps(function)
    def styled(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
        with matplotlib.rc_context(_house_parameters()):
            return function(*args, **kwargs)

    return styled


def save_figure(figure: Figure, paths: Sequence[Path], dpi: int = _DPI) -> None:
    """Write a figure to each path in the format of its suffix (``.svg``, ``.png``, ``.pdf``); ``dpi`` is for pixels.

    Each file appears by atomic rename and carries no date or program name, so equal figures are equal bytes.
    """
    for path in paths:
        form = path.suffix.lstrip(".").lower()
        metadata: dict[str, Any] = {
            "svg": {"Date": None, "Creator": None},
            "png": {"Software": None},
            "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
        }.get(form, {})
        with matplotlib.rc_context(_house_parameters()), atomic_path(path) as temporary:
            figure.savefig(temporary, format=form, dpi=dpi, metadata=metadata)
