"""Files that appear complete or not at all."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of ``path`` that replaces ``path`` when the block succeeds.

    The sibling keeps the extension, because some writers add or act on it. The block must write one file there; it is
    flushed to disk before the rename, and removed when the block fails. Missing parent folders are made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}-{secrets.token_hex(4)}.tmp{path.suffix}")
    try:
        yield temporary
        _flush(temporary)
        temporary.replace(path)
        _flush(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_parquet(frame: pd.DataFrame, path: Path) -> None:
    """Write a table without its index as zstd parquet; equal frames give equal bytes."""
    with atomic_path(path) as temporary:
        frame.to_parquet(temporary, engine="pyarrow", compression="zstd", index=False)


def write_json(obj: Any, path: Path) -> None:
    """Write strict JSON with sorted keys.

    NumPy scalars become numbers.

    Raises:
        ValueError: a number is NaN or infinite, which JSON cannot hold.
    """
    text = json.dumps(obj, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False, default=_plain)
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
