"""Parquet tables that tell whether their bytes are those that were written.

Every page has a CRC, so that a reader checks what it reads and no more. The footer, which says what the pages mean,
holds two SHA-256 checksums: of all bytes before it, and of itself.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from dmin.runtime.digests import sha256
from dmin.runtime.errors import UserError, missing_file

_KEY = "dmin.checksum"
_MADE = "dmin.provenance"
_MARK = "dmin-sha256:"
_EMPTY = "0" * 64
_SEAL = re.compile(rb"dmin-sha256:([0-9a-f]{64})-([0-9a-f]{64})")
_MAGIC = b"PAR1"
_BLOCK = 2**20
# Pages are read through a buffer of so many bytes; Arrow's default is to hold all row groups that it will come to.
_BUFFER = 2**18


class SealedWriter(pq.ParquetWriter):
    """A parquet writer, zstd, whose file holds its checksums once the block has ended without an error."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        super().__init__(path, schema, compression="zstd", write_page_checksum=True)
        self._path = path

    def set_provenance(self, made: Mapping[str, Any]) -> None:
        """Keep what the table was made from in its footer; see :func:`parquet_provenance`."""
        self.add_key_value_metadata({_MADE: json.dumps(made, sort_keys=True)})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.add_key_value_metadata({_KEY: f"{_MARK}{_EMPTY}-{_EMPTY}"})
        self.close()
        if kind is None:
            _seal(self._path)


def open_parquet(path: Path) -> pq.ParquetFile:
    """Open a table whose footer is whole, and whose pages are checked as they are read.

    A table without checksums passes. Read it within :func:`torn_is_told`.

    Raises:
        UserError: the file is missing, torn or no parquet file.
    """
    check_parquet(path)
    with torn_is_told(path):
        return pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=False, buffer_size=_BUFFER)


def read_parquet(
    path: Path, columns: Sequence[str] | None = None, filters: Sequence[tuple[str, str, object]] | None = None
) -> pd.DataFrame:
    """Read a table, or only some of its columns, or only the rows that pass all ``filters``.

    A table without checksums passes.

    Raises:
        UserError: the file is missing, torn or no parquet file.
    """
    with open_parquet(path) as file, torn_is_told(path):
        chosen = None if columns is None else list(columns)
        if filters is None:
            table = file.read(columns=chosen)
            require_rows(file, table.num_rows)
        else:
            table = pq.read_table(
                path, columns=chosen, filters=list(filters), partitioning=None, page_checksum_verification=True
            )
        frame: pd.DataFrame = table.to_pandas()
    return frame


def parquet_provenance(path: Path) -> dict[str, Any]:
    """Return what a table says that it was made from, empty where it does not.

    Raises:
        UserError: the file is missing, torn or no parquet file.
    """
    with open_parquet(path) as file, torn_is_told(path):
        made: dict[str, Any] = json.loads((file.metadata.metadata or {}).get(_MADE.encode(), b"{}"))
        return made


def parquet_digest(path: Path) -> str:
    """Return a digest of all that a table holds: the checksum that it carries, or of its bytes where it has none.

    Raises:
        UserError: the file is missing, torn or no parquet file.
    """
    if not check_parquet(path):
        return sha256(path)
    with path.open("rb") as file:
        return [found[2].decode() for found in _SEAL.finditer(_footer(file)[1])][-1]


def require_rows(file: pq.ParquetFile, rows: int) -> None:
    """Compare the rows that were read with those that the footer promises: a torn page may end early.

    Raises:
        ArrowInvalid: they differ.
    """
    if rows != file.metadata.num_rows:
        raise pa.ArrowInvalid(f"{rows} of {file.metadata.num_rows} rows are left")


def check_parquet(path: Path, whole: bool = False) -> bool:
    """Compare the footer of a table, or the ``whole`` file, with its checksums; False where it has none.

    Raises:
        UserError: they differ, or the file is missing or no parquet file.
    """
    with torn_is_told(path), path.open("rb") as file:
        start, footer = _footer(file)
        found = list(_SEAL.finditer(footer))
        if not found:
            if _KEY.encode() in footer or _MARK.encode() in footer:
                raise pa.ArrowInvalid("its checksum is damaged")
            return False
        body, own = found[-1].groups()
        if hashlib.sha256(_without_own(footer, found[-1].start(2))).hexdigest().encode() != own:
            raise pa.ArrowInvalid("its footer fails the checksum")
        if whole and _digest(file, start) != body:
            raise pa.ArrowInvalid("it fails its checksum")
    return True


@contextmanager
def torn_is_told(path: Path) -> Iterator[None]:
    """Turn what the library raises over a torn file into a sentence."""
    try:
        yield
    except FileNotFoundError as error:
        raise missing_file(path) from error
    except (pa.ArrowException, OSError, ValueError) as error:
        detail = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"File '{path}' is damaged or no parquet file ({detail}); delete it and make it again."
        ) from error


def _seal(path: Path) -> None:
    """Put the checksums of a finished file into the room that was kept for them."""
    with path.open("r+b") as file:
        start, footer = _footer(file)
        place = footer.rindex(_MARK.encode()) + len(_MARK)
        body = _digest(file, start)
        own_place = place + len(body) + 1
        sealed = footer[:place] + body + footer[place + len(body) :]
        own = hashlib.sha256(_without_own(sealed, own_place)).hexdigest().encode()
        file.seek(start + place)
        file.write(body + b"-" + own)


def _footer(file: BinaryIO) -> tuple[int, bytes]:
    """Return where the footer begins, and its bytes to the end of the file."""
    size = file.seek(0, 2)
    file.seek(max(0, size - 8))
    tail = file.read()
    start = size - 8 - int.from_bytes(tail[:4], "little")
    if tail[4:] != _MAGIC or start < len(_MAGIC):
        raise pa.ArrowInvalid("it does not end as a parquet file")
    file.seek(start)
    return start, file.read()


def _without_own(footer: bytes, place: int) -> bytes:
    return footer[:place] + _EMPTY.encode() + footer[place + len(_EMPTY) :]


def _digest(file: BinaryIO, stop: int) -> bytes:
    digest, left = hashlib.sha256(), stop
    file.seek(0)
    while left:
        block = file.read(min(_BLOCK, left))
        digest.update(block)
        left -= len(block)
    return digest.hexdigest().encode()
