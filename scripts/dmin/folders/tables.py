"""Tables of images as text: CSV, lines of JSON, and the JSON of sd-scripts."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..runtime.text import TwiceError, read_text, shown, text_lines, unique_keys
from .files import UnreadableSourceError

# The forms that a table beside images, or one that a path names, may have.
TEXT_TABLES = (".csv", ".jsonl", ".json")
# The column of an image's path; of others, as mask_file_name, the first word is the column's name.
FILE = "file_name"
# What else the column of an image's path is called: by musubi-tuner image_path, by others as they like.
_PATHS = ("image_path", "image_file", "filename", "file_path", "filepath", "file", "path")
_ADDRESSES = ("url", "image_url", "img_url", "image_link")
_VIDEOS = ("video_path", "video", "video_file")
_SEPARATOR = ", "

Row = dict[str, Any]


@dataclass(frozen=True)
class TextTable:
    """The columns and the rows of a table."""

    columns: Sequence[str]
    rows: Sequence[Row]


def read_table(path: Path) -> TextTable:
    """Read a table of images from a text file.

    Raises:
        UnreadableSourceError: it is malformed.
        UserError: it is in another encoding, or a pointer of Git LFS.
    """
    if path.suffix == ".csv":
        return _csv_rows(path)
    return _json_lines(path) if path.suffix == ".jsonl" else _json_table(path)


def image_columns(columns: Sequence[str], name: str) -> dict[str, str]:
    """Return the columns of a table that hold paths of images, and what each is called as one of images.

    Args:
        name: the table's file, for messages.

    Raises:
        UnreadableSourceError: there is none; where images are named by address, or are films, that is said.
    """
    found = {column: _column(column) for column in columns if is_file(column)}
    others = [column for column in _PATHS if column in columns]
    if not found and "image" in columns:
        return {"image": "image"}
    if not found and others:
        return {others[0]: "image"}
    if found:
        return found
    for names, what, fix in (
        (_ADDRESSES, "addresses", "download the images, and name their files in a column file_name"),
        (_VIDEOS, "films", "store images; films are not read"),
    ):
        if there := [column for column in names if column in columns]:
            raise UnreadableSourceError(f"'{shown(name)}' has {what} in its column '{there[0]}'", fix)
    listed = shown(", ".join(columns)) or "none"
    raise UnreadableSourceError(f"'{shown(name)}' has no column file_name; its columns: {listed}")


def is_file(column: str) -> bool:
    """Tell whether a column is one of files' names, as ``file_name`` and ``mask_file_name``."""
    return column == FILE or column.endswith(f"_{FILE}")


def _column(name: str) -> str:
    return "image" if name == FILE else name.removesuffix(f"_{FILE}")


def _csv_rows(path: Path) -> TextTable:
    """Read a CSV file; cells are text, whatever they look like, and empty ones None."""
    reader = csv.reader(io.StringIO(read_text(path, "Metadata"), newline=""), strict=True)
    rows: list[Row] = []
    try:
        header = next(reader, [])
        if len(set(header)) < len(header):
            raise UnreadableSourceError(f"'{path.name}' has a column twice: {shown(', '.join(header))}")
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(header):
                raise UnreadableSourceError(
                    f"'{path.name}' has {len(cells)} cells in line {reader.line_num}, but {len(header)} columns"
                )
            rows.append({name: cell or None for name, cell in zip(header, cells, strict=True)})
    except csv.Error as error:
        raise UnreadableSourceError(f"'{path.name}', line {reader.line_num}: {error}") from error
    return TextTable(header, rows)


def _json_lines(path: Path) -> TextTable:
    rows: list[Row] = []
    for number, line in enumerate(text_lines(read_text(path, "Metadata")), 1):
        if not line.strip():
            continue
        row = _json(line, path, f" in line {number}")
        if not isinstance(row, dict):
            raise UnreadableSourceError(f"'{path.name}' has a {type(row).__name__} in line {number}, not an object")
        rows.append(row)
    return _table(rows)


def _json_table(path: Path) -> TextTable:
    """Read a JSON file: a list of objects, or an object of images by their paths, as that of sd-scripts.

    The caption of the latter is its ``caption``, with its ``tags`` after it where it has both.
    """
    given = _json(read_text(path, "Metadata"), path, "")
    rows = given if isinstance(given, list) else list(given.values()) if isinstance(given, dict) else []
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise UnreadableSourceError(f"'{path.name}' holds neither a list of objects nor objects by images' paths")
    if isinstance(given, dict):
        rows = [{**row, FILE: key, "caption": _joined(row)} for key, row in given.items()]
    return _table(rows)


def _joined(row: Row) -> Any:
    caption, tags = row.get("caption"), row.get("tags")
    if isinstance(caption, str) and isinstance(tags, str) and caption and tags:
        return f"{caption}{_SEPARATOR}{tags}"
    return tags if caption is None else caption


def _json(text: str, path: Path, place: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=unique_keys)
    except TwiceError as error:
        raise UnreadableSourceError(f"'{path.name}' has the key '{shown(error)}' twice{place}") from None
    except (ValueError, RecursionError) as error:
        raise UnreadableSourceError(f"'{path.name}' has no JSON{place}") from error


def _table(rows: list[Row]) -> TextTable:
    return TextTable(list(dict.fromkeys(name for row in rows for name in row)), rows)
