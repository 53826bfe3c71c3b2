"""How many rows a local source has, without decoding an image."""

from __future__ import annotations

from pathlib import Path

from ..runtime.errors import UserError
from ..runtime.text import shown
from .files import UnreadableSourceError, is_local
from .footer import parquet_rows
from .layout import find_layout
from .tables import read_table


def count_rows(path: Path, split: str) -> int:
    """Return how many rows a local source has.

    Raises:
        UnreadableSourceError: it has nothing to read, or more than one thing, or a table is malformed.
        UserError: a link in it leads elsewhere, an image is no regular file, or a table is in another encoding.
        OSError: it cannot be read.
    """
    layout = find_layout(path, split)
    if layout.kind == "images":
        return len(layout.files)
    return sum(_table_rows(layout.folder / name) for name in layout.files)


def _table_rows(file: Path) -> int:
    if file.exists() and not file.is_file():
        # Who opened a pipe would wait for ever.
        raise UnreadableSourceError(f"'{shown(file.name)}' is a pipe, a device or the like, and not a file")
    return parquet_rows(file) if file.suffix == ".parquet" else len(read_table(file).rows)


def try_count(path: str, split: str) -> int | None:
    """Return how many rows a source has; None where it is not here, or cannot be read."""
    try:
        return count_rows(Path(path), split) if is_local(path) else None
    except (UserError, ValueError, OSError):
        return None
