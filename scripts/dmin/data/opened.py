"""A source opened for reading, and its parquet files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dmin.folders.files import UnreadableSourceError
from dmin.runtime.errors import UserError
from dmin.runtime.text import is_lfs_pointer, shown

Row = dict[str, Any]

_BATCH = 64
# Arrow's default is to hold every row group that it will come to, as a whole.
_BUFFERED: Mapping[str, Any] = {"pre_buffer": False, "buffer_size": 2**18}


@dataclass(frozen=True)
class Opened:
    """A source opened for reading.

    Attributes:
        columns: the columns with their types, None where a cell may hold anything.
        read: gives the rows in order, with some of the columns.
        roots: folders that files named by cells must lie in; relative paths start from the first.
        classes: the names of the classes that a column of integers stands for.
        repeats: the column that says how often a row is seen in each epoch of a training; empty where once.
    """

    columns: Mapping[str, pa.DataType | None]
    read: Callable[[Sequence[str]], Iterator[Row]]
    roots: Sequence[Path]
    classes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    repeats: str = ""


def open_parquet(files: Sequence[Path], root: Path) -> Opened:
    """Open parquet files of one schema, one after the other.

    Raises:
        UnreadableSourceError: a file is no parquet file, or has another schema than the first.
    """
    schema = _schema(files[0])
    for file in files[1:]:
        if not _schema(file).equals(schema):
            raise UnreadableSourceError(f"'{shown(file.name)}' has other columns than '{shown(files[0].name)}'")

    def read(columns: Sequence[str]) -> Iterator[Row]:
        for path in files:
            # Opened here, because names need not be UTF-8.
            with path.open("rb") as stored, pq.ParquetFile(stored, **_BUFFERED) as file:
                for batch in file.iter_batches(batch_size=_BATCH, columns=list(columns)):
                    yield from batch.to_pylist()

    return Opened(dict(zip(schema.names, schema.types, strict=True)), read, [root], _class_names(schema))


def check_image_type(column: str, kind: pa.DataType | None) -> None:
    """Refuse a column whose type cannot hold images.

    Raises:
        UserError: the sentence says what it holds.
    """
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    if kind is None or _holds_bytes(kind) or _holds_text(kind):
        return
    if pa.types.is_struct(kind):
        names = {part.name: part.type for part in kind.fields}
        if ("bytes" in names and _holds_bytes(names["bytes"])) or ("path" in names and _holds_text(names["path"])):
            return
        kind = names.get("bytes", kind)
    raise UserError(
        f"the column '{column}' holds {_describe(kind)} in place of images; store them encoded (PNG, JPEG), as bytes "
        "or as paths of files."
    )


def _schema(path: Path) -> pa.Schema:
    with path.open("rb") as file:
        if is_lfs_pointer(file.read(64)):
            raise UserError(f"'{shown(str(path))}' is a pointer of Git LFS, not the file; run 'git lfs pull'.")
        file.seek(0)
        schema = pq.read_schema(file)
    twice = [name for name in schema.names if schema.names.count(name) > 1]
    if twice:
        raise UnreadableSourceError(f"it has the column '{shown(twice[0])}' twice")
    return schema


def _class_names(schema: pa.Schema) -> dict[str, Sequence[str]]:
    """Return the names of classes that ``datasets`` keeps in the metadata of a file."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        found = {name: feature["names"] for name, feature in features.items() if feature.get("_type") == "ClassLabel"}
        return {name: [str(entry) for entry in entries] for name, entries in found.items()}
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError):
        return {}


def _holds_bytes(kind: pa.DataType) -> bool:
    # A column of nothing has a type of its own; its rows are told one by one.
    kinds = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_null)
    return any(matches(kind) for matches in kinds)


def _holds_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _holds_text(kind.value_type)
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _describe(kind: pa.DataType) -> str:
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return "numbers"
    if _holds_bytes(kind) or (pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0):
        return "images"
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return f"lists of {_describe(kind.value_type).removeprefix('lists of ')}"
    return f"values of type {shown(str(kind))}"
