"""Colours of figures and pages, and what they stand for; nothing here draws, so that pages start fast."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

NOISE = "noise"
MEAN = "mean"

INK = "#1f2430"
MUTED = "#5f6673"
FAINT = "#d9dce1"

# Okabe and Ito's palette, ordered for contrast on white, with their yellow (too light for lines) replaced by an olive;
# the last entries repeat hues at another lightness for data sets of more than seven subsets.
PALETTE = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#8A7A1E",
    "#004B74",
    "#8C3A00",
    "#00614A",
    "#8F4470",
    "#A9A9A9",
)
NOISE_COLOUR = "#7d8491"
MEAN_COLOUR = INK

# How a training image relates to a query, in colour and in words, so that colour is never the only cue.
RELATION_COLOURS: Mapping[str, str] = {
    "hit": "#0072B2",
    "other": "#D55E00",
    "noise": NOISE_COLOUR,
    "unknown": "#4C5A72",
}
RELATION_NAMES: Mapping[str, str] = {
    "hit": "same subset",
    "other": "other subset",
    "noise": "noised copy",
    "unknown": "training images",
}


def subset_colours(subsets: Iterable[str]) -> dict[str, str]:
    """Give each subset its colour, by alphabetical order, so that all figures of a run agree.

    ``noise`` and ``mean`` have colours of their own and take none from the palette.
    """
    names = sorted({*subsets} - {NOISE, MEAN})
    colours = {name: PALETTE[index % len(PALETTE)] for index, name in enumerate(names)}
    return {**colours, NOISE: NOISE_COLOUR, MEAN: MEAN_COLOUR}


def order_subsets(subsets: Iterable[str]) -> list[str]:
    """Sort subset names with ``mean`` first and ``noise`` last."""
    return sorted({*subsets}, key=lambda name: ({MEAN: 0, NOISE: 2}.get(name, 1), name))


def relation(query_subset: str | None, sample_subset: str) -> str:
    """Say how a training sample relates to a query: ``hit``, ``other``, ``noise`` (a noised copy is never a hit), or
    ``unknown`` where the query's subset is None."""
    if sample_subset == NOISE:
        return "noise"
    if query_subset is None:
        return "unknown"
    return "hit" if sample_subset == query_subset else "other"


def lighten(colour: str, amount: float) -> str:
    """Mix a colour ``#rrggbb`` with white: 0 keeps it, 1 gives white."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    return "#" + "".join(f"{round((part + (1.0 - part) * amount) * 255):02x}" for part in parts)
