"""Files and folders that appear complete or not at all, and carry checksums."""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dmin.runtime.checksums import RECORDED, drop_record, seal_json, write_record
from dmin.runtime.errors import UserError
from dmin.runtime.temporaries import sweep, temporary_name

if TYPE_CHECKING:
    import pandas as pd

# With less than this left, a write that failed has failed for want of space.
_FULL = 2**16


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of ``path`` that replaces ``path`` when the block succeeds.

    The sibling keeps the extension, because some writers add or act on it. The block must write one file there; it is
    flushed to disk before the rename, and removed when the block fails. Missing parent folders are made. What killed
    writers of this file left is removed. A file that cannot hold its own checksum gets one beside it: see
    :mod:`dmin.runtime.checksums`.

    Raises:
        OSError: the disk is full, in whatever words the block's library tells of it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path)
    temporary = path.with_name(temporary_name(path, secrets.token_hex(4)))
    with _dropped_if_failed(path, lambda: temporary.unlink(missing_ok=True)):
        yield temporary
        _flush(temporary)
        drop_record(path)
        temporary.replace(path)
        if path.suffix in RECORDED:
            write_record(path)
        _flush(path.parent)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of ``path``, an empty folder, that takes the place of ``path`` when the block succeeds.

    Whatever stood there is removed whole, so that no file of it is left among the new ones; all else is as for
    :func:`atomic_path`.

    Raises:
        OSError: the disk is full, in whatever words the block's library tells of it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path)
    temporary, old = (path.with_name(temporary_name(path, secrets.token_hex(4))) for _ in range(2))
    temporary.mkdir()
    try:
        with _dropped_if_failed(path, lambda: shutil.rmtree(temporary, ignore_errors=True)):
            yield temporary
            for file in (*temporary.rglob("*"), temporary):
                _flush(file)
            _exchange(temporary, path, old)
            _flush(path.parent)
    finally:
        # Where neither could take the place, the old one is all there is.
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)


def _exchange(new: Path, path: Path, old: Path) -> None:
    """Put ``new`` in the place of ``path``, and what stood there, if anything, to ``old``; or leave all as it was."""
    stood = path.exists()
    if stood:
        path.rename(old)
    try:
        new.rename(path)
    except BaseException:
        if stood:
            old.rename(path)
        raise


@contextmanager
def _dropped_if_failed(path: Path, drop: Callable[[], object]) -> Iterator[None]:
    """Drop what a block that fails has written for ``path``; for want of space, an OSError says so."""
    try:
        yield
    except BaseException as error:
        # Asked before the space is given back.
        full = isinstance(error, Exception) and shutil.disk_usage(path.parent).free < _FULL
        drop()
        if full and not isinstance(error, UserError):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise


def write_parquet(frame: pd.DataFrame, path: Path, made: Mapping[str, Any] | None = None) -> None:
    """Write a table without its index as zstd parquet with a checksum; equal frames give equal bytes.

    Args:
        made: its provenance.
    """
    import pyarrow as pa  # here, so that this module is light

    from dmin.runtime.parquet import SealedWriter

    table = pa.Table.from_pandas(frame, preserve_index=False)
    with atomic_path(path) as temporary, SealedWriter(temporary, table.schema) as writer:
        writer.write_table(table)
        if made is not None:
            writer.set_provenance(made)


def write_json(obj: Any, path: Path) -> None:
    """Write strict JSON with sorted keys; an object gets a checksum over all else it holds.

    NumPy scalars become numbers. :func:`dmin.runtime.readers.read_json` reads it.

    Raises:
        ValueError: a number is NaN or infinite, which JSON cannot hold.
    """
    plain = json.loads(json.dumps(obj, allow_nan=False, default=_plain))
    sealed = seal_json(plain) if isinstance(plain, dict) else plain
    text = json.dumps(sealed, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def write_csv(frame: pd.DataFrame, path: Path) -> None:
    """Write a table without its index; floats are the shortest text that reads back to the same value."""
    write_csv_parts([frame], path)


def write_csv_parts(frames: Iterable[pd.DataFrame], path: Path) -> None:
    """Write a table as :func:`write_csv` does, from parts of its rows that are held one at a time."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        for number, frame in enumerate(frames):
            frame.to_csv(file, index=False, header=number == 0, lineterminator="\n")


def write_array(values: np.ndarray, path: Path) -> None:
    """Write an array as ``.npy``, the bytes of ``np.save``.

    NumPy's own writer does not say why a write fell short.
    """
    header = np.lib.format.header_data_from_array_1_0(values)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.write(np.ascontiguousarray(values.T if header["fortran_order"] else values).data)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
