"""How many rows a source has, where the config leaves it out or asks for more."""

from __future__ import annotations

from pathlib import Path

from ..folders.count import count_rows, try_count
from ..folders.files import is_local
from ..runtime.errors import UserError
from ..runtime.text import shown
from ..settings.models import Source
from ..settings.runs import OwnImages


def counted(key: str, source: Source | OwnImages) -> int:
    """Return the rows of a source, counted where the config does not say how many to take.

    Raises:
        UserError: they cannot be counted: it is on the hub, only some labels of it are taken, or it cannot be read. The
            sentence begins with ``key``.
    """
    if source["rows"] is not None:
        return source["rows"]
    path = source["path"]
    if not is_local(path):
        raise UserError(f"{key} has no rows, and '{shown(path)}' is on the hub, where none are counted; set rows.")
    if source.get("labels"):
        raise UserError(f"{key} has labels, but no rows, and only all rows of a source are counted; set rows.")
    try:
        rows = count_rows(Path(path), source["split"])
    except (UserError, ValueError, OSError) as error:
        fix = getattr(error, "fix", "")
        raise UserError(f"{key}: '{shown(path)}' cannot be read: {_sentence(error, fix)}") from error
    if not rows:
        raise UserError(f"{key}: '{shown(path)}' has no rows; add images, or set path to another source.")
    return rows


def require_rows(key: str, source: Source | OwnImages) -> None:
    """Refuse to take more rows of a local source than it has; what cannot be counted, the job that reads it tells.

    Raises:
        UserError: there are fewer. The sentence begins with ``key``.
    """
    there = None if source.get("labels") else try_count(source["path"], source["split"])
    if source["rows"] is not None and there is not None and source["rows"] > there > 0:
        raise UserError(f"{key}: {source['rows']} rows asked for, {there} found; set rows to {there}, or add images.")


def _sentence(error: Exception, fix: str) -> str:
    if isinstance(error, UserError):
        return str(error)
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"{shown(reason.rstrip('.'))}; {fix or 'set path to an intact parquet file or image folder'}."
