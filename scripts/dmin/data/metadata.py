"""What ``metadata.csv``, ``.jsonl`` or ``.parquet`` says of the images in a folder, row by row."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from dmin.data.opened import Opened, Row, UnreadableSourceError, open_parquet
from dmin.runtime.text import TwiceError, read_text, shown, text_lines, unique_keys

log = logging.getLogger(__name__)

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
# The column of an image's path; of others, as mask_file_name, the first word is the column's name.
_FILE = "file_name"


def open_metadata(folder: Path, files: Sequence[str], root: Path, images: Sequence[str]) -> Opened:
    """Open the images that metadata files name, in their order; their other columns come with them.

    Args:
        folder: what the paths of ``files`` and ``images`` start from; ``file_name`` starts from its file's own folder.
        root: where images must lie.
        images: all images; those that no file names are not rows.

    Raises:
        UnreadableSourceError: a file is malformed, lacks ``file_name``, has other columns than the first, or stands
            beside another.
        UserError: a file is in another encoding, or a pointer of Git LFS.
    """
    places = [PurePosixPath(file).parent for file in files]
    if len(set(places)) < len(places):
        raise UnreadableSourceError(f"it holds several of {', '.join(METADATA)} in one folder: keep one")
    tables = [_open(folder / file, root) for file in files]
    names = list(tables[0].columns)
    for file, table in zip(files, tables, strict=True):
        if not any(_is_file(name) for name in table.columns):
            found = shown(", ".join(table.columns)) or "none"
            raise UnreadableSourceError(f"'{shown(file)}' has no column file_name; its columns: {found}")
        if set(table.columns) != set(names):
            raise UnreadableSourceError(f"'{shown(file)}' has other columns than '{shown(files[0])}'")
    columns = {_column(name): name for name in names}
    # The path of an image goes before a column that already has the name.
    columns |= {_column(name): name for name in names if _is_file(name)}
    spellings = {_composed(image): image for image in images}
    _count(folder, files, tables, images, spellings)

    def read(wanted: Sequence[str]) -> Iterator[Row]:
        for file, table in zip(files, tables, strict=True):
            place = (folder / file).parent
            for row in table.read([columns[name] for name in wanted]):
                yield {name: _cell(columns[name], row[columns[name]], place, folder, spellings) for name in wanted}

    return Opened(dict.fromkeys(columns), read, [root], tables[0].classes)


def _open(path: Path, root: Path) -> Opened:
    if path.suffix == ".parquet":
        return open_parquet([path], root)
    names, rows = _csv_rows(path) if path.suffix == ".csv" else _json_rows(path)

    def read(columns: Sequence[str]) -> Iterator[Row]:
        for row in rows:
            yield {column: row.get(column) for column in columns}

    return Opened(dict.fromkeys(names), read, [root])


def _csv_rows(path: Path) -> tuple[list[str], list[Row]]:
    """Return the columns and the rows of a CSV file; cells are text, whatever they look like, and empty ones None."""
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
    return header, rows


def _json_rows(path: Path) -> tuple[list[str], list[Row]]:
    """Return the columns and the rows of a file of JSON lines."""
    rows: list[Row] = []
    for number, line in enumerate(text_lines(read_text(path, "Metadata")), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=unique_keys)
        except TwiceError as error:
            raise UnreadableSourceError(f"'{path.name}' has the key '{shown(error)}' twice in line {number}") from None
        except (ValueError, RecursionError) as error:
            raise UnreadableSourceError(f"'{path.name}' has no JSON in line {number}") from error
        if not isinstance(row, dict):
            raise UnreadableSourceError(f"'{path.name}' has a {type(row).__name__} in line {number}, not an object")
        rows.append(row)
    return list(dict.fromkeys(name for row in rows for name in row)), rows


def _is_file(name: str) -> bool:
    return name == _FILE or name.endswith(f"_{_FILE}")


def _column(name: str) -> str:
    """Return the column that a metadata file's column becomes."""
    return name if not _is_file(name) else "image" if name == _FILE else name.removesuffix(f"_{_FILE}")


def _cell(column: str, value: Any, place: Path, folder: Path, spellings: Mapping[str, str]) -> Any:
    """Return a cell; that of a file's name as an image, whose path starts from the metadata's folder."""
    if not _is_file(column):
        return value
    if not isinstance(value, str) or not value:
        return None
    # An address stays what it is, so that it can be named.
    return value if "://" in value else {"bytes": None, "path": str(_path(value, place, folder, spellings))}


def _path(value: str, place: Path, folder: Path, spellings: Mapping[str, str]) -> Path:
    """Return the path of an image that a cell names; it may be written as on Windows, or é as e and an accent."""
    if "\\" in value and not _there(place / value):
        value = value.replace("\\", "/")
    path = place / value
    if value.isascii() or _there(path):
        return path
    found = spellings.get(_composed(os.path.relpath(os.path.normpath(path), folder)))
    return path if found is None else folder / found


def _composed(name: str) -> str:
    """Return a name with its accents as parts of their letters: file systems and programs differ in it."""
    return unicodedata.normalize("NFC", name)


def _there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _count(
    folder: Path, files: Sequence[str], tables: Sequence[Opened], images: Sequence[str], spellings: Mapping[str, str]
) -> None:
    """Say how many images are not rows."""
    named: set[str] = set()
    for file, table in zip(files, tables, strict=True):
        if _FILE in table.columns:
            place = (folder / file).parent
            values = (str(row[_FILE]) for row in table.read([_FILE]))
            named |= {os.path.normpath(_path(value, place, folder, spellings)) for value in values}
    left = [image for image in images if os.path.normpath(folder / image) not in named]
    if left:
        log.warning("%s: %d images are not in the metadata and not read, %s first", folder, len(left), shown(left[0]))
