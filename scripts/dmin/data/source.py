"""Sources of training images: a local parquet file, an image folder or a hub data set, as one parquet file."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

import pyarrow as pa

from dmin.data import cells
from dmin.data.folder import open_folder
from dmin.data.hub import open_hub
from dmin.data.images import decode_image
from dmin.data.opened import Opened, UnreadableSourceError, check_image_type, open_parquet
from dmin.data.outside import UnreadableImageError
from dmin.data.samples import SampleWriter, image_bytes
from dmin.runtime.atomic import atomic_path
from dmin.runtime.errors import UserError
from dmin.runtime.text import shown
from dmin.settings.models import Source

log = logging.getLogger(__name__)

SOURCE_COLUMNS = ("image", "prompt", "label", "origin")

_NAMED = 5  # offending rows that a message names before it only counts


@dataclass
class _Tally:
    """What was found while reading."""

    taken: int = 0
    list_captions: int = 0
    unreadable: list[str] = field(default_factory=list)
    reason: str = ""
    uncaptioned: list[str] = field(default_factory=list)
    other_labels: dict[str | None, None] = field(default_factory=dict)


def fetch_source(name: str, config: Source, out: Path) -> None:
    """Write the first rows of a source as parquet with the columns ``image{bytes,path}, prompt, label, origin``.

    Images keep their encoding. The counts are in the metadata of the file under ``dmin``, as JSON with ``rows``,
    ``skipped`` and ``list_captions``.

    Args:
        name: the source's name, for messages.
        config: where ``labels`` is not null, only their rows are taken. A null ``caption_column`` gives empty prompts;
            a null ``origin_column`` gives row numbers.
        out: the parquet file to make.

    Raises:
        UserError: the source cannot be reached or read, lacks a column, has too few rows, an unreadable image
            (unless ``on_unreadable`` is ``skip``) or an empty caption.
    """
    start = time.monotonic()
    table = _open_source(name, config)
    _check_columns(name, config, table)
    wanted: int | None = config["rows"]
    tally = _Tally()
    with atomic_path(out) as temporary, SampleWriter(temporary, SOURCE_COLUMNS) as writer:
        for row in _read_rows(name, config, table, tally):
            writer.append(row)
        _check_tally(name, config, tally)
        counts = {"rows": tally.taken, "skipped": len(tally.unreadable), "list_captions": tally.list_captions}
        writer.set_metadata("dmin", json.dumps(counts, sort_keys=True))
    if tally.unreadable:
        log.warning("source %s: skipped unreadable %s", name, _enumerate(tally.unreadable))
    if tally.list_captions:
        log.info("source %s: %d captions are lists; the first non-empty one is used", name, tally.list_captions)
    log.info(
        "source %s: %d rows taken (%s asked for), %d skipped, %.1f s",
        name,
        tally.taken,
        "all" if wanted is None else wanted,
        len(tally.unreadable),
        time.monotonic() - start,
    )


def is_local(path: str) -> bool:
    """Tell whether a source's ``path`` means a local file or folder and not a hub data set."""
    return path.startswith((".", "/")) or path.endswith(".parquet") or Path(path).exists()


def _open_source(name: str, config: Source) -> Opened:
    path, split = str(config["path"]), str(config["split"])
    if not is_local(path):
        return open_hub(name, path, split, config["revision"])
    local = Path(path)
    if not local.exists():
        raise UserError(
            f"Source '{name}': file '{shown(path)}' does not exist; correct path, which is relative to the working "
            "directory."
        )
    if not local.is_dir() and (local.suffix != ".parquet" or not local.is_file()):
        raise UserError(
            f"Source '{name}': file '{shown(path)}' is no parquet file; set path to a .parquet file or a folder."
        )
    try:
        if local.is_dir():
            return open_folder(local.absolute(), split)
        if split != "train":
            raise UnreadableSourceError(
                f"a file has no split '{shown(split)}'", "leave split out, and name the split's file"
            )
        return open_parquet([local], local.absolute().parent)
    except UserError as error:
        raise UserError(f"Source '{name}': {error}") from error
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _unreadable_source(name, path, error) from error


def _unreadable_source(name: str, path: str, error: Exception) -> UserError:
    detail = shown((str(error).splitlines() or [type(error).__name__])[0].rstrip("."))
    fix = getattr(error, "fix", "") or "set path to an intact parquet file or image folder, and split to one it has"
    return UserError(f"Source '{name}': '{shown(path)}' cannot be read ({detail}); {fix}.")


def _check_columns(name: str, config: Source, table: Opened) -> None:
    known = [shown(str(column)) for column in table.columns]
    if not known:
        raise UserError(f"Source '{name}': '{config['path']}' has no columns; set path to a file of images.")
    for key in ("image_column", "caption_column", "label_column", "origin_column"):
        column = config[key]
        if column is not None and column not in table.columns:
            hint = "" if key == "image_column" else ", or to null for none"
            raise UserError(
                f"Source '{name}': '{config['path']}' has no column '{column}'; set {key} to one of "
                f"{', '.join(known)}{hint}."
            )
    column = config["image_column"]
    try:
        check_image_type(column, table.columns[column])
    except UserError as error:
        raise UserError(f"Source '{name}': {error}") from error


def _read_rows(name: str, config: Source, table: Opened, tally: _Tally) -> Iterator[dict[str, Any]]:
    """Yield the rows taken and count the rest in ``tally``.

    Faulty rows do not stop the reading, so that one message counts all of them.
    """
    image_column, caption_column = config["image_column"], config["caption_column"]
    skip = config["on_unreadable"] == "skip"
    for number, row in enumerate(_raw_rows(name, config, table)):
        examined = tally.taken + len(tally.uncaptioned) + (0 if skip else len(tally.unreadable))
        if examined == config["rows"]:
            return
        try:
            label = cells.text("label_column", config["label_column"], row, table.classes)
            if config["labels"] is not None and label not in config["labels"]:
                if len(tally.other_labels) <= _NAMED:
                    tally.other_labels[label] = None
                continue
            origin = cells.text("origin_column", config["origin_column"], row, table.classes) or str(number)
            cell = caption_column and cells.class_name(table.classes.get(caption_column), row[caption_column])
            data, path = _read_image(row[image_column], table.roots)
        except (UnreadableImageError, OSError, ValueError) as error:
            log.warning("source %s: row %d: %s", name, number, shown(str(error)))
            tally.unreadable.append(_row_name(number, row[image_column]))
            tally.reason = tally.reason or _reason(error)
            continue
        except UserError as error:
            raise UserError(f"Source '{name}', row {number}: {error}") from error
        prompt = ""
        if caption_column is not None:
            prompt = cells.caption(name, caption_column, number, cell)
            if not prompt:
                tally.uncaptioned.append(_row_name(number, row[image_column]))
                continue
            tally.list_captions += isinstance(cell, list | tuple)
        tally.taken += 1
        for text in (prompt, label or "", origin):
            cells.check_unicode(name, number, text)
        yield {"image": {"bytes": data, "path": path}, "prompt": prompt, "label": label, "origin": origin}


def _raw_rows(name: str, config: Source, table: Opened) -> Iterator[dict[str, Any]]:
    named = (config[key] for key in ("image_column", "caption_column", "label_column", "origin_column"))
    iterator = iter(table.read(sorted({column for column in named if column is not None})))
    while True:
        try:
            row = next(iterator)
        except StopIteration:
            return
        except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
            raise _unreadable_source(name, config["path"], error) from error
        yield row


def _read_image(cell: object, roots: Sequence[Path]) -> tuple[bytes, str | None]:
    """Return the encoded image and its file name after decoding it once, as the assembly will."""
    data = image_bytes(cell, roots)
    file = _file_name(cell)
    decode_image(data, shown(file or ""), 1)
    return data, file


def _file_name(cell: object) -> str | None:
    """Return the last part of an image's path: the folders before it differ between machines."""
    path = cell.get("path") if isinstance(cell, Mapping) else cell
    if not isinstance(path, str):
        return None
    # A name that is no text in the encoding of file systems keeps what of it is.
    return PurePath(path).name.encode("utf-8", "backslashreplace").decode() or None


def _reason(error: Exception) -> str:
    """Say why an image cannot be read, where more is known than that its bytes are none."""
    if isinstance(error, UnreadableImageError):
        return error.reason
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"'{shown(PurePath(str(error.filename)).name)}': {error.strerror}"
    return shown(str(error))


def _row_name(number: int, cell: object) -> str:
    file = _file_name(cell)
    return f"row {number} ({shown(file)})" if file else f"row {number}"


def _check_tally(name: str, config: Source, tally: _Tally) -> None:
    wanted = config["rows"]
    if tally.unreadable and config["on_unreadable"] != "skip":
        reason = f" ({tally.reason})" if tally.reason else ""
        raise UserError(
            f"Source '{name}': {len(tally.unreadable)} unreadable image(s), {_enumerate(tally.unreadable)}{reason}; "
            "replace them, or set on_unreadable: skip to leave them out."
        )
    if tally.uncaptioned:
        raise UserError(
            f"Source '{name}': caption column '{config['caption_column']}' is empty in {len(tally.uncaptioned)} "
            f"row(s), {_enumerate(tally.uncaptioned)}; fill them in, or set caption_column to another column or null."
        )
    if tally.taken == 0 or (wanted is not None and tally.taken < wanted):
        skipped = f" ({len(tally.unreadable)} unreadable ones left out)" if tally.unreadable else ""
        if tally.reason:
            skipped = f"{skipped[:-1]}: {tally.reason})"
        asked, fix = "all" if wanted is None else wanted, "lower rows or add images"
        if config["labels"] is not None:
            skipped += f" with a label among {', '.join(config['labels'])}"
        if tally.taken == 0 and tally.other_labels:
            fix = f"correct labels, where the column holds {_listed(tally.other_labels)}"
        raise UserError(
            f"Source '{name}': {asked} rows asked for, {tally.taken} found{skipped} in '{config['path']}'; {fix}."
        )


def _listed(labels: Iterable[str | None]) -> str:
    """Name the first labels that were found."""
    names = ["nothing" if label is None else f"'{shown(label)}'" for label in labels]
    return ", ".join(names[:_NAMED]) + (" and others" if len(names) > _NAMED else "")


def _enumerate(rows: list[str]) -> str:
    more = f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
    return ", ".join(rows[:_NAMED]) + more
