"""Checks and clean-up that every plotted table needs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from dmin.figures.colours import MEAN
from dmin.runtime.errors import UserError

FULL = "full"
_SHOWN = 4096


def require_table(table: pd.DataFrame, columns: Sequence[str], name: str) -> pd.DataFrame:
    """Return a copy of ``table`` with ``v`` (if asked for) as text.

    Raises:
        UserError: a column is missing or there are no rows; ``name`` says which table.
    """
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise UserError(f"The {name} table lacks the column '{missing[0]}'; make it again with this version of dmin.")
    if table.empty:
        raise UserError(
            f"The {name} table is empty, so there is nothing to plot; run its rule with at least one sample."
        )
    table = table.copy()
    if "v" in columns:
        table["v"] = pd.Series([width_text(value) for value in table["v"]], index=table.index, dtype=object)
    return table


def exact_means(table: pd.DataFrame, k: int | None = None) -> pd.DataFrame:
    """Return the detection rates of exact rankings at ``k``, by default the smallest, as their mean over subsets."""
    wanted = int(table["k"].min()) if k is None else k
    return table[(table["backend"] == "exact") & (table["subset"] == MEAN) & (table["k"].astype(int) == wanted)]


def storage_label(storage: str) -> str:
    """Return what figures call a number format."""
    return storage.replace("_", " ")


def width_text(value: object) -> str:
    """Write a width as ``''`` (none), ``'full'`` or its digits, however the CSV reader parsed it."""
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return ""
    text = str(value).strip()
    if text.lower() in ("", "nan", "none"):
        return ""
    if text == FULL:
        return FULL
    return str(int(float(text)))


def width_order(width: str) -> float:
    """Sort key of a width: none, then numbers, then uncompressed."""
    return {"": -1.0, FULL: math.inf}.get(width, float(width) if width.isdigit() else -1.0)


def shown_widths(widths: Sequence[str]) -> list[str]:
    """Return the width that a method is shown at among sorted ones: the largest of at most 4,096, or the smallest.

    Nothing where it has no number.
    """
    numbers = [width for width in widths if width.isdigit()]
    return [width for width in numbers if int(width) <= _SHOWN][-1:] or numbers[:1]


def width_label(width: str) -> str:
    """Name a width for a legend, ``''`` where the method has none."""
    if width == "":
        return ""
    return "uncompressed" if width == FULL else f"v = {int(width):,}"
