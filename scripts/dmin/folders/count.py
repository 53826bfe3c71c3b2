"""How many rows a local source has, without decoding an image."""

from __future__ import annotations

from pathlib import Path

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
    return sum(
        parquet_rows(file) if file.suffix == ".parquet" else len(read_table(file).rows)
        for file in (layout.folder / name for name in layout.files)
    )
