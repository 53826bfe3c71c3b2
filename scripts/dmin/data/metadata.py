"""Tables that name images, row by row: ``metadata.csv``, ``.jsonl`` or ``.parquet``, or one that a path names."""

from __future__ import annotations

import logging
import os
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from dmin.data.opened import Opened, Row, open_parquet
from dmin.folders.captions import has_caption, read_caption
from dmin.folders.files import IMAGES, UnreadableSourceError
from dmin.folders.layout import Layout
from dmin.folders.tables import image_columns, read_table
from dmin.runtime.text import shown

log = logging.getLogger(__name__)

# Of captions in files beside the images.
CAPTION = "caption"


@dataclass(frozen=True)
class _Names:
    """Finds the files that cells name.

    Attributes:
        folder: what the paths of images start from.
        spellings: the paths of images by their composed form.
    """

    folder: Path
    spellings: Mapping[str, str]

    def path(self, value: str, place: Path) -> Path:
        """Return the path of an image that a cell names, which starts from ``place``.

        It may be written as on Windows, with é as e and an accent, or without its ending, as sd-scripts does.
        """
        if "\\" in value and not _there(place / value):
            value = value.replace("\\", "/")
        path = place / value
        if _there(path):
            return path
        if not value.isascii():
            found = self.spellings.get(_composed(os.path.relpath(os.path.normpath(path), self.folder)))
            if found is not None:
                return self.folder / found
        if path.suffix.lower() not in IMAGES:
            ends = (path.with_name(f"{path.name}{end}") for end in sorted(IMAGES) if path.name)
            return next(filter(_there, ends), path)
        return path


def open_tables(layout: Layout, image: str) -> Opened:
    """Open the images that tables name, in their order; their other columns come with them.

    Paths start from the folder of their own table. Files beside the images give a column ``caption`` where the tables
    have none.

    Args:
        image: the column of the images that captions are beside; where it names no files, the first that does.

    Raises:
        UnreadableSourceError: a table is malformed, names no images, or has other columns than the first.
        UserError: a file is in another encoding, or a pointer of Git LFS.
    """
    folder, root = layout.folder, layout.root
    tables = [_open(folder / file, root) for file in layout.files]
    names = list(tables[0].columns)
    for file, table in zip(layout.files, tables, strict=True):
        image_columns(list(table.columns), file)
        if set(table.columns) != set(names):
            raise UnreadableSourceError(f"'{shown(file)}' has other columns than '{shown(layout.files[0])}'")
    images = image_columns(names, layout.files[0])
    # The path of an image goes before a column that already has the name.
    columns = {name: name for name in names if name not in images} | {new: name for name, new in images.items()}
    find = _Names(folder, {_composed(image): image for image in layout.images})
    captioned = next((name for name, new in images.items() if new == image), next(iter(images)))
    if layout.images:
        _tell_left(layout, tables, list(images), find)
    beside = CAPTION not in columns and any(
        has_caption(find.path(value, place)) for value, place in _values(layout, tables, [captioned])
    )

    def read(wanted: Sequence[str]) -> Iterator[Row]:
        # A caption beside an image is found by the path of the image.
        needed = {columns[name] for name in wanted if name in columns} | ({captioned} if beside else set())
        for file, table in zip(layout.files, tables, strict=True):
            place = (folder / file).parent
            for row in table.read(sorted(needed)):
                found = {name: _cell(columns[name], row, place, images, find) for name in wanted if name in columns}
                if beside and CAPTION in wanted:
                    value = row[captioned]
                    named = isinstance(value, str) and value
                    found[CAPTION] = read_caption(find.path(value, place), [root]) if named else None
                yield found

    # Cells of images may hold bytes too, whatever their type; captions beside them are text.
    kinds: dict[str, pa.DataType | None] = dict.fromkeys(columns)
    return Opened(kinds | ({CAPTION: pa.string()} if beside else {}), read, [root], tables[0].classes)


def _open(path: Path, root: Path) -> Opened:
    if path.suffix == ".parquet":
        return open_parquet([path], root)
    table = read_table(path)

    def read(columns: Sequence[str]) -> Iterator[Row]:
        for row in table.rows:
            yield {column: row.get(column) for column in columns}

    return Opened(dict.fromkeys(table.columns), read, [root])


def _cell(column: str, row: Row, place: Path, images: Mapping[str, str], find: _Names) -> Any:
    """Return a cell; that of a file's name as an image, whose path starts from the table's folder."""
    value = row[column]
    if column not in images:
        return value
    if not isinstance(value, str) or not value:
        return value if isinstance(value, bytes | dict) else None
    # An address stays what it is, so that it can be named.
    return (
        value if "://" in value or value.startswith("data:") else {"bytes": None, "path": str(find.path(value, place))}
    )


def _values(layout: Layout, tables: Sequence[Opened], columns: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """Yield the names of images with the folder of their table."""
    for file, table in zip(layout.files, tables, strict=True):
        for row in table.read(columns):
            for column in columns:
                if isinstance(row[column], str) and row[column]:
                    yield row[column], (layout.folder / file).parent


def _composed(name: str) -> str:
    """Return a name with its accents as parts of their letters: file systems and programs differ in it."""
    return unicodedata.normalize("NFC", name)


def _there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _tell_left(layout: Layout, tables: Sequence[Opened], columns: Sequence[str], find: _Names) -> None:
    """Say how many images are in no row."""
    named = {os.path.normpath(find.path(value, place)) for value, place in _values(layout, tables, columns)}
    left = [image for image in layout.images if os.path.normpath(layout.folder / image) not in named]
    if left:
        log.warning(
            "%s: %d images are not in the metadata and not read, %s first", layout.folder, len(left), shown(left[0])
        )
