"""What the footer of a parquet file says, without a library: how many rows there are, and whether they name files.

The footer is a struct in Thrift's compact protocol; its second field is the schema, depth first, its third the number
of rows, its fourth the groups of these. Sources: Apache Parquet, file format; Apache Thrift, compact protocol.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .files import UnreadableSourceError

_DAMAGED = "its footer is damaged"
_MAGIC = b"PAR1"
_STOP, _TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT, _UUID = 0, 1, 2, 3, 7, 8, 9, 10, 11, 12, 13
_INTEGERS = (4, 5, 6)
_WIDTHS = {_BYTE: 1, _DOUBLE: 8, _UUID: 16}
_SCHEMA_FIELD, _ROWS_FIELD, _GROUPS_FIELD = 2, 3, 4
# Fields of an element of the schema, and of a chunk of a column.
_TYPE, _NAME, _CHILDREN, _CONVERTED, _LOGICAL = 1, 4, 5, 6, 10
_COLUMNS, _CHUNK, _PLACE, _STATISTICS, _NULLS = 1, 3, 3, 12, 3
# UTF-8 as both say it, the older by a number and the newer by which field of a union is there.
_TEXT, _STRING = 0, 1
_BYTES = 6


def parquet_rows(path: Path) -> int:
    """Return the number of rows of a parquet file.

    Raises:
        UnreadableSourceError: it is none, or is torn.
        OSError: it cannot be read.
    """
    rows = _fields(path, _ROWS_FIELD)[_ROWS_FIELD]
    if not isinstance(rows, int):
        raise UnreadableSourceError(_DAMAGED)
    return rows


def names_files(path: Path, column: str) -> bool:
    """Tell whether cells of a column of images name files in place of holding images.

    So does text, and a struct whose ``bytes`` are missing somewhere in the first group of rows. A file without the
    column has its images under another name, as paths.

    Raises:
        UnreadableSourceError: it is no parquet file, or is torn.
        OSError: it cannot be read.
    """
    fields = _fields(path, _GROUPS_FIELD)
    try:
        return _names_files(fields[_SCHEMA_FIELD], fields[_GROUPS_FIELD], column.encode())
    except (AttributeError, KeyError, TypeError) as error:
        raise UnreadableSourceError(_DAMAGED) from error


def _names_files(schema: Sequence[dict[int, Any]], group: dict[int, Any], column: bytes) -> bool:
    parts = _parts(schema, column)
    if not parts:
        return True
    if len(parts) == 1:
        return parts[0].get(_CONVERTED) == _TEXT or _STRING in parts[0].get(_LOGICAL, ())
    # A column of nothing has a type of its own.
    if not any(part[_NAME] == b"bytes" and part.get(_TYPE) == _BYTES for part in parts[1:]):
        return True
    chunks = [chunk.get(_CHUNK, {}) for chunk in group.get(_COLUMNS, [])]
    place = [column, b"bytes"]
    return any(chunk.get(_STATISTICS, {}).get(_NULLS, 0) > 0 for chunk in chunks if chunk.get(_PLACE) == place)


def _fields(path: Path, last: int) -> dict[int, Any]:
    """Return the fields of a footer up to one, and of the groups of rows the first, empty where there is none."""
    with path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(max(size - 8, 0))
        tail = file.read(8)
        length = int.from_bytes(tail[:4], "little")
        if tail[4:] != _MAGIC or length + 8 > size:
            raise UnreadableSourceError("it is no whole parquet file")
        file.seek(size - 8 - length)
        footer = file.read(length)
    try:
        return _Reader(footer).fields(last)
    except (IndexError, RecursionError) as error:
        raise UnreadableSourceError(_DAMAGED) from error


def _parts(schema: Sequence[dict[int, Any]], column: bytes) -> list[dict[int, Any]]:
    """Return the element of a column at the top of a schema, and those below it."""
    place = 1
    while place < len(schema):
        start, open_ = place, 1
        while open_ and place < len(schema):
            open_ += schema[place].get(_CHILDREN, 0) - 1
            place += 1
        if schema[start].get(_NAME) == column:
            return list(schema[start:place])
    return []


class _Reader:
    """Reads a struct from the first of its bytes on."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.place = 0

    def fields(self, last: int) -> dict[int, Any]:
        """Return the fields of the struct up to ``last``, or raise ``IndexError`` where it has no such field."""
        found = dict[int, Any]()
        for field, kind in self._members():
            if field == _GROUPS_FIELD and kind == _LIST:
                part, size = self._list()
                found[field] = self._value(part, element=True) if size else {}
            else:
                found[field] = self._value(kind)
            if field == last:
                return found
        raise IndexError

    def _members(self) -> Iterator[tuple[int, int]]:
        """Yield the number and the type of each field of a struct, whose value is read before the next is asked for."""
        field = 0
        while (kind := self._field_type()) != _STOP:
            field = field + self.delta if self.delta else self._integer()
            yield field, kind

    def _byte(self) -> int:
        self.place += 1
        return self.data[self.place - 1]

    def _take(self, length: int) -> bytes:
        self.place += length
        if self.place > len(self.data):
            raise IndexError
        return self.data[self.place - length : self.place]

    def _field_type(self) -> int:
        head = self._byte()
        self.delta = head >> 4
        return head & 0xF

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 63:
                raise IndexError

    def _integer(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def _list(self) -> tuple[int, int]:
        """Return the type of a list's elements, and how many there are."""
        head = self._byte()
        size = head >> 4
        return head & 0xF, self._varint() if size == 15 else size

    def _value(self, kind: int, element: bool = False) -> Any:
        """Return a value, a struct by the numbers of its fields; of booleans only elements of lists take a byte."""
        if kind in (_TRUE, _FALSE):
            return (self._byte() if element else kind) == _TRUE
        if kind in _INTEGERS:
            return self._integer()
        if kind in _WIDTHS:
            return self._take(_WIDTHS[kind])
        if kind == _BINARY:
            return self._take(self._varint())
        if kind in (_LIST, _SET):
            part, size = self._list()
            return [self._value(part, element=True) for _ in range(size)]
        if kind == _MAP:
            size = self._varint()
            kinds = self._byte() if size else 0
            return [(self._value(kinds >> 4, True), self._value(kinds & 0xF, True)) for _ in range(size)]
        if kind == _STRUCT:
            return {field: self._value(part) for field, part in self._members()}
        raise IndexError
