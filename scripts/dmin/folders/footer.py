"""How many rows a parquet file has, from its footer, without a library.

The footer is a struct in Thrift's compact protocol; its third field is the number of rows. Sources: Apache Parquet,
file format; Apache Thrift, compact protocol.
"""

from __future__ import annotations

import io
from pathlib import Path

from .files import UnreadableSourceError

_MAGIC = b"PAR1"
_STOP, _TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT, _UUID = 0, 1, 2, 3, 7, 8, 9, 10, 11, 12, 13
_INTEGERS = (4, 5, 6)
_WIDTHS = {_BYTE: 1, _DOUBLE: 8, _UUID: 16}
_ROWS_FIELD = 3


def parquet_rows(path: Path) -> int:
    """Return the number of rows of a parquet file.

    Raises:
        UnreadableSourceError: it is none, or is torn.
        OSError: it cannot be read.
    """
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
        return _Reader(footer).rows()
    except (IndexError, RecursionError) as error:
        raise UnreadableSourceError("its footer is damaged") from error


class _Reader:
    """Reads a struct from the first of its bytes on."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.place = 0

    def rows(self) -> int:
        """Return the number of rows, or raise ``IndexError`` where the struct has none."""
        field = 0
        while (kind := self._field_type()) != _STOP:
            field = field + self.delta if self.delta else self._integer()
            if field == _ROWS_FIELD and kind in _INTEGERS:
                return self._integer()
            self._skip(kind)
        raise IndexError

    def _byte(self) -> int:
        self.place += 1
        return self.data[self.place - 1]

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

    def _skip(self, kind: int, element: bool = False) -> None:
        """Pass over a value; of booleans only elements of lists and maps take a byte."""
        if kind in (_TRUE, _FALSE):
            self.place += element
        elif kind in _INTEGERS:
            self._varint()
        elif kind in _WIDTHS:
            self.place += _WIDTHS[kind]
        elif kind == _BINARY:
            length = self._varint()
            self.place += length
        elif kind in (_LIST, _SET):
            head = self._byte()
            size = head >> 4
            self._skip_all([head & 0xF], self._varint() if size == 15 else size)
        elif kind == _MAP:
            if size := self._varint():
                kinds = self._byte()
                self._skip_all([kinds >> 4, kinds & 0xF], size)
        elif kind == _STRUCT:
            while (part := self._field_type()) != _STOP:
                if not self.delta:
                    self._varint()
                self._skip(part)
        else:
            raise IndexError

    def _skip_all(self, kinds: list[int], size: int) -> None:
        for _ in range(size):
            for kind in kinds:
                self._skip(kind, element=True)
            if self.place > len(self.data):
                raise IndexError
