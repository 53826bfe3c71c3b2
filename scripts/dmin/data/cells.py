"""What the cells of a source say beside its images: captions, labels, origins."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from dmin.runtime.errors import UserError
from dmin.runtime.text import shown

# What a trigger word stands in for.
PLACES = ("[trigger]", "[name]")


def caption(name: str, column: str, number: int, cell: object) -> str:
    """Return a caption or the first non-empty one of a list, without outer blanks; empty where there is none.

    Raises:
        UserError: the cell holds something else than text; source and row are named.
    """
    texts = list(cell) if isinstance(cell, list | tuple) else [cell]
    for text in texts:
        if text is not None and not isinstance(text, str):
            raise UserError(
                f"Source '{name}': caption column '{column}' holds {type(text).__name__} in row {number}, not text; "
                "set caption_column to a column of text."
            )
        if text and text.strip():
            return text.strip()
    return ""


def with_trigger(name: str, number: int, words: str, trigger: str | None) -> str:
    """Return a caption with the trigger word in place of ``[trigger]`` and ``[name]``, or before it.

    Source: ai-toolkit, which puts the word before captions that do not hold it, and nothing in its place where it is
    empty.

    Raises:
        UserError: the caption asks for a trigger word, and it is None; source and row are named.
    """
    if trigger is None:
        if PLACES[0] in words:
            raise UserError(
                f"Source '{name}': the caption of row {number} has {PLACES[0]}; set trigger to the word that stands "
                "for it, or to ''."
            )
        return words
    for place in PLACES:
        words = words.replace(place, trigger)
    return words.strip() if not trigger or trigger in words else f"{trigger} {words}".strip()


def class_name(classes: Sequence[str] | None, value: Any) -> Any:
    """Return the name of a class for its number; None for a number below 0, which means none.

    Raises:
        UserError: there are fewer classes.
    """
    if classes is None or not isinstance(value, int):
        return value
    if value >= len(classes):
        raise UserError(f"a column names {len(classes)} classes, but holds the number {value}; correct the file.")
    return classes[value] if value >= 0 else None


def text(key: str, column: str | None, row: Mapping[str, Any], classes: Mapping[str, Sequence[str]]) -> str | None:
    """Return a cell as text; None where the column is none, or the cell is empty or not a number (NaN).

    Args:
        key: the setting that names the column.

    Raises:
        UserError: it holds what has no text of its own, as lists and bytes.
    """
    value = None if column is None else class_name(classes.get(column), row[column])
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bytes | bytearray | memoryview | list | tuple | Mapping):
        raise UserError(
            f"the column '{shown(column)}' holds {type(value).__name__}, not text or numbers; set {key} to another "
            "column, or to null for none."
        )
    return str(value)


def check_unicode(name: str, number: int, words: str) -> None:
    """Refuse halves of surrogate pairs, which no file can hold.

    Raises:
        UserError: source and row are named.
    """
    try:
        words.encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"Source '{name}': row {number} has the text '{shown(words)}', which holds half a character; correct it."
        ) from error
