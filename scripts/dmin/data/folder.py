"""A local file or folder as a source: images, tables that name them, or parquet files. Names are taken as they are."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import pyarrow as pa

from dmin.data.metadata import CAPTION, open_tables
from dmin.data.opened import Opened, Row, open_parquet
from dmin.folders.captions import has_caption, read_caption
from dmin.folders.layout import Layout, check_repeats, find_layout, repeats_of
from dmin.runtime.text import shown

log = logging.getLogger(__name__)

REPEATS = "repeats"


def open_local(path: Path, split: str, repeated: bool = False, image: str = "image") -> Opened:
    """Open a local source, or the folder in it that ``split`` names.

    Images are read with what ``metadata.csv``, ``.jsonl`` or ``.parquet`` says of them; without such a file in the
    order of their paths, with the captions beside them, and the folders that they lie in are their ``label`` where
    there are several at one depth. Files of other kinds are passed over, and so are hidden ones.

    Args:
        repeated: folders such as ``1_cat`` and ``2_dog`` have to say how often images are seen, and are no numbered
            classes.
        image: the column of a table whose images captions are beside.

    Raises:
        UnreadableSourceError: it has nothing to read, or more than one thing.
        UserError: a link in it leads elsewhere, an image is no regular file, or no folders say how often images are
            seen where they have to.
    """
    layout = find_layout(path, split)
    if repeated:
        check_repeats(layout)
    if layout.kind == "parquet":
        return open_parquet([layout.folder / file for file in layout.files], layout.root)
    if layout.kind == "tables":
        return open_tables(layout, image)
    return _open_images(layout, bool(layout.repeats) and (repeated or not layout.numbered))


def _open_images(layout: Layout, repeated: bool) -> Opened:
    paths = [PurePosixPath(file) for file in layout.files]
    folders = [repeats_of(path.parts[0]) if repeated else None for path in paths]
    captioned = [has_caption(layout.folder / file) for file in layout.files]
    columns: dict[str, pa.DataType | None] = {"image": None}
    if layout.labelled:
        columns["label"] = None
    if repeated:
        columns[REPEATS] = pa.int64()
        said = ", ".join(f"{times} times {shown(what)}" for times, what in layout.repeats)
        log.info("%s: %s, as folders say", layout.folder, said)
    elif layout.repeats:
        log.warning("%s: %s", layout.folder, numbered_classes(layout))
    if repeated or any(captioned):
        columns[CAPTION] = pa.string()
    if layout.masks:
        log.info("%s: %d masks and conditions of images are passed over", layout.folder, layout.masks)

    def read(wanted: Sequence[str]) -> Iterator[Row]:
        for file, path, told in zip(layout.files, paths, folders, strict=True):
            image = layout.folder / file
            times, subject = told or (1, None)
            row: Row = {"image": {"bytes": None, "path": str(image)}, REPEATS: times}
            row["label"] = subject or path.parent.name
            if CAPTION in wanted:
                # sd-scripts takes the words of the folder for images without a caption.
                beside = read_caption(image, [layout.root])
                row[CAPTION] = subject if beside is None else beside
            yield {column: row[column] for column in wanted}

    return Opened(columns, read, [layout.root], repeats=REPEATS if repeated else "")


def numbered_classes(layout: Layout) -> str:
    """Say for what folders are taken that are numbered from 1 on."""
    return (
        f"the folders are numbered 1 to {len(layout.repeats)} and taken for classes; set repeats to folders where the "
        "numbers are repeats of sd-scripts"
    )
