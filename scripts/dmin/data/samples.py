"""Parquet tables of samples: images with ids, prompts and what else belongs to them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from dmin.data.images import image_to_array, open_image, require_shape
from dmin.data.outside import check_cell_bytes, check_cell_text, read_inside
from dmin.runtime.atomic import atomic_path
from dmin.runtime.errors import UserError
from dmin.runtime.parquet import SealedWriter, open_parquet, require_rows, torn_is_told

# Small row groups bound the memory of writers and of readers that stream: at most so many rows, and a new one after so
# many bytes of images.
ROW_GROUP = 64
GROUP_BYTES = 2**23
# Images that are given one by one, but read together.
_AT_ONCE = 8
NO_ROWS = "The table of samples has no rows; give it at least one image."

_TYPES: dict[str, tuple[pa.DataType, dict[str, str]]] = {
    "image": (pa.struct([("bytes", pa.binary()), ("path", pa.string())]), {"_type": "Image"}),
    **dict.fromkeys(("seed", "repeats"), (pa.int64(), {"dtype": "int64", "_type": "Value"})),
}
_TEXT = (pa.string(), {"dtype": "string", "_type": "Value"})


def sample_schema(columns: Sequence[str]) -> pa.Schema:
    """Return the parquet schema of sample tables: ``image{bytes,path}``, int64 ``seed, repeats``, all else text.

    Its metadata makes ``datasets`` decode the images.
    """
    kinds = {column: _TYPES.get(column, _TEXT) for column in columns}
    features = {column: feature for column, (_, feature) in kinds.items()}
    return pa.schema(
        [(column, kind) for column, (kind, _) in kinds.items()],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )


class SampleWriter:
    """Write a sample table row by row in bounded memory; a context manager."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self._schema = sample_schema(columns)
        self._writer = SealedWriter(path, self._schema)
        self._rows: list[Mapping[str, Any]] = []
        self._bytes = 0

    def append(self, row: Mapping[str, Any]) -> None:
        """Add one row; ``image`` is a mapping with ``bytes`` and ``path``."""
        self._rows.append(row)
        self._bytes += len((row.get("image") or {}).get("bytes") or b"")
        if len(self._rows) == ROW_GROUP or self._bytes >= GROUP_BYTES:
            self._write_group()

    def set_metadata(self, key: str, value: str) -> None:
        """Store a text in the metadata of the file."""
        self._writer.add_key_value_metadata({key: value})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._rows:
            self._write_group()
        self._writer.__exit__(kind, error, trace)

    def _write_group(self) -> None:
        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
        self._rows, self._bytes = [], 0


def write_samples(frame: pd.DataFrame, path: Path) -> None:
    """Write a frame with the columns it has as a sample table, atomically."""
    with atomic_path(path) as temporary, SampleWriter(temporary, list(frame.columns)) as writer:
        for row in frame.astype(object).where(frame.notna(), None).to_dict("records"):
            writer.append({str(column): value for column, value in row.items()})


def read_samples(path: Path, columns: Sequence[str] | None = None, ids: Collection[str] | None = None) -> pd.DataFrame:
    """Read a sample table, or only some of its columns; images stay encoded.

    Args:
        ids: read only the rows of these ids, in the order of the table; memory is theirs and that of one row group.

    Raises:
        UserError: the file is missing, torn, or lacks a column or an id.
    """
    with _open_table(path, columns) as file, torn_is_told(path):
        if ids is not None:
            return _read_rows(file, path, columns, set(ids))
        table = file.read(columns=_listed(columns))
        require_rows(file, table.num_rows)
        return table.to_pandas()


def iter_samples(path: Path, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """Yield the rows of a sample table in order, holding a few images in memory.

    Raises:
        UserError: the file is missing, torn or lacks a column.
    """
    with _open_table(path, columns) as file:
        rows = _AT_ONCE if columns is None or "image" in columns else ROW_GROUP
        for batch in _batches(file, path, columns, rows):
            yield from batch.to_pylist()


def iter_blocks(path: Path, rows: int, columns: Sequence[str] | None = None) -> Iterator[pd.DataFrame]:
    """Yield the table in frames of ``rows`` rows, the last of which may be shorter, holding about one in memory.

    Raises:
        UserError: the file is missing, torn or lacks a column.
    """
    with _open_table(path, columns) as file:
        pending: list[pa.RecordBatch] = []
        held = 0
        for batch in _batches(file, path, columns, rows):
            while held + len(batch) >= rows:
                taken = rows - held
                yield pa.Table.from_batches([*pending, batch.slice(0, taken)]).to_pandas()
                pending, held, batch = [], 0, batch.slice(taken)
            if len(batch):
                pending.append(batch)
                held += len(batch)
        if pending:
            yield pa.Table.from_batches(pending).to_pandas()


def image_bytes(cell: object, roots: Sequence[Path] = ()) -> bytes:
    """Return the encoded bytes of an image cell: bytes, a path, or a mapping with ``bytes`` and ``path``.

    Args:
        roots: folders that a file must lie in; a relative path starts from the first. Without any, no file is read.

    Raises:
        UserError: the file lies elsewhere, or the cell shows that its whole column holds no images.
        UnreadableImageError: the file is no regular one, or too large.
        ValueError: the cell holds no image.
        OSError: the file it names cannot be read.
    """
    if isinstance(cell, Mapping):
        data, path = cell.get("bytes"), cell.get("path")
    elif isinstance(cell, str):
        data, path = None, cell
    else:
        data, path = cell, None
    if isinstance(data, bytes | bytearray | memoryview):
        check_cell_bytes(bytes(data))
        return bytes(data)
    if isinstance(path, str) and path and roots:
        check_cell_text(path)
        data = read_inside(roots[0] / path, roots)
        check_cell_bytes(data)
        return data
    raise ValueError("it holds neither image bytes nor a path")


def sample_images(frame: pd.DataFrame) -> list[np.ndarray]:
    """Decode the images of a sample table, which may have several sizes; uint8 ``[height, width, channels]`` each.

    Raises:
        UserError: an image is unreadable.
    """
    arrays: list[np.ndarray] = []
    for name, cell in zip(_row_names(frame), frame["image"], strict=True):
        try:
            arrays.append(image_to_array(open_image(image_bytes(cell), str(name))))
        except Exception as error:
            raise UserError(f"Image '{name}' is unreadable ({error}); make its table again.") from error
    return arrays


def sample_pixels(frame: pd.DataFrame) -> np.ndarray:
    """Decode the images of a sample table.

    Returns:
        uint8 array ``[samples, height, width, channels]``.

    Raises:
        UserError: an image is unreadable, the sizes or modes differ, or there is none.
    """
    arrays = sample_images(frame)
    for name, array in zip(_row_names(frame), arrays, strict=True):
        require_shape(array, arrays[0].shape, name)
    if not arrays:
        raise UserError(NO_ROWS)
    return np.stack(arrays)


def pixel_runs(frame: pd.DataFrame) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield the images of neighbouring rows of one size together, with their places in the table.

    The arrays are uint8 ``[n, height, width, channels]``, as of :func:`sample_pixels`.

    Raises:
        UserError: an image is unreadable, or there is none.
    """
    arrays = sample_images(frame)
    if not arrays:
        raise UserError(NO_ROWS)
    start = 0
    for stop in range(1, len(arrays) + 1):
        if stop == len(arrays) or arrays[stop].shape != arrays[start].shape:
            yield slice(start, stop), np.stack(arrays[start:stop])
            start = stop


def _row_names(frame: pd.DataFrame) -> Sequence[Any]:
    return list(frame["id"] if "id" in frame.columns else frame.index)


def read_columns(path: Path) -> list[str]:
    """Return the names of the columns of a sample table.

    Raises:
        UserError: the file is missing or torn.
    """
    with _open_table(path, None) as file:
        return list(file.schema_arrow.names)


def require_columns(path: Path, columns: Sequence[str]) -> None:
    """Check that a sample table has these columns.

    Raises:
        UserError: the file is missing, torn or lacks one.
    """
    _open_table(path, columns).close()


def _read_rows(file: pq.ParquetFile, path: Path, columns: Sequence[str] | None, ids: set[str]) -> pd.DataFrame:
    """Read the rows of some ids, row group by row group, and only groups that hold one."""
    wanted = [name for name in file.schema_arrow.names if columns is None or name in columns]
    parts, found = [file.schema_arrow.empty_table().select(wanted)], set[str]()
    read = 0
    for group in range(file.num_row_groups):
        names = file.read_row_group(group, columns=["id"])["id"].to_pylist()
        places = [place for place, name in enumerate(names) if name in ids]
        if places:
            parts.append(file.read_row_group(group, columns=wanted).take(places))
            found.update(names[place] for place in places)
        read += len(names)
    require_rows(file, read)
    missing = sorted(ids - found)
    if missing:
        raise UserError(
            f"File '{path}' has no sample '{missing[0]}', which results name that were made from another data set; "
            "make them again."
        )
    return pa.concat_tables(parts).to_pandas()


def _batches(file: pq.ParquetFile, path: Path, columns: Sequence[str] | None, rows: int) -> Iterator[pa.RecordBatch]:
    """Yield a table in record batches of at most ``rows`` rows, few at a time where images are large."""
    iterator = file.iter_batches(batch_size=max(1, min(rows, ROW_GROUP)), columns=_listed(columns))
    read = 0
    while True:
        with torn_is_told(path):
            batch = next(iterator, None)
            if batch is None:
                require_rows(file, read)
                return
        read += batch.num_rows
        yield batch


def _open_table(path: Path, columns: Sequence[str] | None) -> pq.ParquetFile:
    file = open_parquet(path)
    known = file.schema_arrow.names
    missing = [column for column in columns or () if column not in known]
    if missing:
        file.close()
        raise UserError(f"File '{path}' has no column '{missing[0]}'; it has {', '.join(known)}.")
    return file


def _listed(columns: Sequence[str] | None) -> list[str] | None:
    return None if columns is None else list(columns)
