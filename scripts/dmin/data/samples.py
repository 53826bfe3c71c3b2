"""Parquet tables of samples: images with ids, prompts and what else belongs to them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from dmin.data.images import image_to_array, open_image
from dmin.data.outside import check_cell_bytes, check_cell_text, read_inside
from dmin.runtime.atomic import atomic_path
from dmin.runtime.errors import UserError

# Small row groups bound the memory of writers and of readers that stream.
ROW_GROUP = 64

_TYPES: dict[str, tuple[pa.DataType, dict[str, str]]] = {
    "image": (pa.struct([("bytes", pa.binary()), ("path", pa.string())]), {"_type": "Image"}),
    "seed": (pa.int64(), {"dtype": "int64", "_type": "Value"}),
}
_TEXT = (pa.string(), {"dtype": "string", "_type": "Value"})


def sample_schema(columns: Sequence[str]) -> pa.Schema:
    """Return the parquet schema of sample tables: ``image{bytes,path}``, int64 ``seed``, everything else text.

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
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")
        self._rows: list[Mapping[str, Any]] = []

    def append(self, row: Mapping[str, Any]) -> None:
        """Add one row; ``image`` is a mapping with ``bytes`` and ``path``."""
        self._rows.append(row)
        if len(self._rows) == ROW_GROUP:
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
        self._writer.close()

    def _write_group(self) -> None:
        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
        self._rows = []


def write_samples(frame: pd.DataFrame, path: Path) -> None:
    """Write a frame with the columns it has as a sample table, atomically."""
    with atomic_path(path) as temporary, SampleWriter(temporary, list(frame.columns)) as writer:
        for row in frame.astype(object).where(frame.notna(), None).to_dict("records"):
            writer.append({str(column): value for column, value in row.items()})


def read_samples(path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a sample table, or only some of its columns; images stay encoded.

    Raises:
        UserError: the file is missing, torn or lacks a column.
    """
    file = _open_table(path, columns)
    with file:
        try:
            return file.read(columns=None if columns is None else list(columns)).to_pandas()
        except (pa.ArrowException, OSError) as error:
            raise _torn(path, error) from error


def iter_samples(path: Path, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """Yield the rows of a sample table in order, holding one row group in memory.

    Raises:
        UserError: the file is missing, torn or lacks a column.
    """
    with _open_table(path, columns) as file:
        try:
            for batch in file.iter_batches(batch_size=ROW_GROUP, columns=None if columns is None else list(columns)):
                yield from batch.to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise _torn(path, error) from error


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


def sample_pixels(frame: pd.DataFrame) -> np.ndarray:
    """Decode the images of a sample table.

    Returns:
        uint8 array ``[samples, height, width, channels]``.

    Raises:
        UserError: an image is unreadable, the sizes or modes differ, or there is none.
    """
    arrays: list[np.ndarray] = []
    names = frame["id"] if "id" in frame.columns else frame.index
    for name, cell in zip(names, frame["image"], strict=True):
        try:
            arrays.append(image_to_array(open_image(image_bytes(cell), str(name))))
        except Exception as error:
            raise UserError(f"Image '{name}' is unreadable ({error}); make its table again.") from error
        if arrays[-1].shape != arrays[0].shape:
            raise UserError(
                f"Image '{name}' has shape {arrays[-1].shape} where the images before it have {arrays[0].shape}; "
                "make the table with one size and mode."
            )
    if not arrays:
        raise UserError("The table of samples has no rows; give it at least one image.")
    return np.stack(arrays)


def _open_table(path: Path, columns: Sequence[str] | None) -> pq.ParquetFile:
    if not path.is_file():
        raise UserError(f"File '{path}' does not exist; run the rule that makes it.")
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise _torn(path, error) from error
    known = file.schema_arrow.names
    missing = [column for column in columns or () if column not in known]
    if missing:
        file.close()
        raise UserError(f"File '{path}' has no column '{missing[0]}'; it has {', '.join(known)}.")
    return file


def _torn(path: Path, error: Exception) -> UserError:
    detail = (str(error).splitlines() or [type(error).__name__])[0]
    return UserError(f"File '{path}' is damaged or no parquet file ({detail}); delete it and make it again.")
