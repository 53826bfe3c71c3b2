"""Sources of training images: a local parquet file, an image folder or a hub data set, as one parquet file."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

import datasets
import pyarrow as pa
from datasets.exceptions import DatasetsError

from dmin.data.hub import load_hub_dataset
from dmin.data.images import decode_image
from dmin.data.samples import SampleWriter, image_bytes
from dmin.runtime.atomic import atomic_path
from dmin.runtime.errors import UserError
from dmin.settings.models import Source

log = logging.getLogger(__name__)

SOURCE_COLUMNS = ("image", "prompt", "label", "origin")

_NAMED = 5  # offending rows that a message names before it only counts


@dataclass
class _Table:
    """A source opened for reading: rows in order, and the folder that relative image paths start from."""

    rows: Any
    features: Mapping[str, Any]
    root: Path | None


@dataclass
class _Tally:
    """What was found while reading."""

    taken: int = 0
    list_captions: int = 0
    unreadable: list[str] = field(default_factory=list)
    uncaptioned: list[str] = field(default_factory=list)


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
    _check_columns(name, config, list(table.features))
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


def _open_source(name: str, config: Source) -> _Table:
    path, split = str(config["path"]), str(config["split"])
    if not is_local(path):
        rows = load_hub_dataset(name, path, split, config["revision"])
        return _Table(rows, rows.features, None)
    local = Path(path)
    if not local.exists():
        raise UserError(
            f"Source '{name}': file '{path}' does not exist; correct path, which is relative to the working directory."
        )
    if local.is_file() and local.suffix != ".parquet":
        raise UserError(f"Source '{name}': file '{path}' is no parquet file; set path to a .parquet file or a folder.")
    try:
        # Streaming reads the files in place; otherwise datasets copies everything into its cache first.
        if local.is_file():
            rows = datasets.load_dataset("parquet", data_files=str(local), split="train", streaming=True)
            return _Table(rows, rows.features, local.parent)
        rows = datasets.load_dataset(str(local), split=split, streaming=True)
        return _Table(rows, rows.features or dict.fromkeys(next(iter(rows), {})), local)
    except (pa.ArrowException, DatasetsError, OSError, ValueError) as error:
        raise _unreadable_source(name, path, error) from error


def _unreadable_source(name: str, path: str, error: Exception) -> UserError:
    detail = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
    return UserError(
        f"Source '{name}': '{path}' cannot be read ({detail}); set path to an intact parquet file or image folder, and "
        "split to one it has."
    )


def _check_columns(name: str, config: Source, known: list[str]) -> None:
    for key in ("image_column", "caption_column", "label_column", "origin_column"):
        column = config[key]
        if column is not None and column not in known:
            hint = "" if key == "image_column" else ", or to null for none"
            raise UserError(
                f"Source '{name}': '{config['path']}' has no column '{column}'; set {key} to one of "
                f"{', '.join(known)}{hint}."
            )


def _read_rows(name: str, config: Source, table: _Table, tally: _Tally) -> Iterator[dict[str, Any]]:
    """Yield the rows taken and count the rest in ``tally``.

    Faulty rows do not stop the reading, so that one message counts all of them.
    """
    image_column, caption_column = config["image_column"], config["caption_column"]
    skip = config["on_unreadable"] == "skip"
    for number, row in enumerate(_raw_rows(name, config, table)):
        examined = tally.taken + len(tally.uncaptioned) + (0 if skip else len(tally.unreadable))
        if examined == config["rows"]:
            return
        label = _text(config["label_column"], row, table.features)
        if config["labels"] is not None and label not in config["labels"]:
            continue
        try:
            data, path = _read_image(row[image_column], table.root)
        except (UserError, OSError, ValueError) as error:
            log.warning("source %s: row %d: %s", name, number, error)
            tally.unreadable.append(_row_name(number, row[image_column]))
            continue
        prompt = ""
        if caption_column is not None:
            cell = _class_name(table.features[caption_column], row[caption_column])
            prompt = _caption(name, caption_column, number, cell)
            if not prompt:
                tally.uncaptioned.append(_row_name(number, row[image_column]))
                continue
            tally.list_captions += isinstance(cell, list | tuple)
        tally.taken += 1
        yield {
            "image": {"bytes": data, "path": path},
            "prompt": prompt,
            "label": label,
            "origin": _text(config["origin_column"], row, table.features) or str(number),
        }


def _raw_rows(name: str, config: Source, table: _Table) -> Iterator[dict[str, Any]]:
    named = (config[key] for key in ("image_column", "caption_column", "label_column", "origin_column"))
    rows = table.rows.select_columns(sorted({column for column in named if column is not None}))
    if isinstance(table.features[config["image_column"]], datasets.Image):
        rows = rows.cast_column(config["image_column"], datasets.Image(decode=False))
    iterator = iter(rows)
    while True:
        try:
            row = next(iterator)
        except StopIteration:
            return
        except (pa.ArrowException, DatasetsError, OSError) as error:
            raise _unreadable_source(name, config["path"], error) from error
        yield row


def _read_image(cell: object, root: Path | None) -> tuple[bytes, str | None]:
    """Return the encoded image and its file name after decoding it once, as the assembly will."""
    data = image_bytes(cell, root)
    file = _file_name(cell)
    decode_image(data, file or "", 1)
    return data, file


def _file_name(cell: object) -> str | None:
    """Return the last part of an image's path: the folders before it differ between machines."""
    path = cell.get("path") if isinstance(cell, Mapping) else cell
    return PurePath(path).name or None if isinstance(path, str) else None


def _row_name(number: int, cell: object) -> str:
    file = _file_name(cell)
    return f"row {number} ({file})" if file else f"row {number}"


def _caption(name: str, column: str, number: int, cell: object) -> str:
    """Return a caption or the first non-empty one of a list, without outer blanks; empty where there is none."""
    texts = list(cell) if isinstance(cell, list | tuple) else [cell]
    for text in texts:
        if text is not None and not isinstance(text, str):
            raise UserError(
                f"Source '{name}': caption column '{column}' holds {type(text).__name__} in row {number}, not text; "
                "set caption_column to a column of text."
            )
        if text and text.strip():
            return text.strip()
    return ""


def _class_name(feature: Any, value: Any) -> Any:
    if isinstance(feature, datasets.ClassLabel) and isinstance(value, int):
        return feature.int2str(value) if value >= 0 else None
    return value


def _text(column: str | None, row: Mapping[str, Any], features: Mapping[str, Any]) -> str | None:
    value = None if column is None else _class_name(features[column], row[column])
    return None if value is None else str(value)


def _check_tally(name: str, config: Source, tally: _Tally) -> None:
    wanted = config["rows"]
    if tally.unreadable and config["on_unreadable"] != "skip":
        raise UserError(
            f"Source '{name}': {len(tally.unreadable)} unreadable image(s), {_enumerate(tally.unreadable)}; replace "
            "them, or set on_unreadable: skip to leave them out."
        )
    if tally.uncaptioned:
        raise UserError(
            f"Source '{name}': caption column '{config['caption_column']}' is empty in {len(tally.uncaptioned)} "
            f"row(s), {_enumerate(tally.uncaptioned)}; fill them in, or set caption_column to another column or null."
        )
    if tally.taken == 0 or (wanted is not None and tally.taken < wanted):
        skipped = f" ({len(tally.unreadable)} unreadable ones left out)" if tally.unreadable else ""
        asked = "all" if wanted is None else wanted
        if config["labels"] is not None:
            skipped += f" with a label among {', '.join(config['labels'])}"
        raise UserError(
            f"Source '{name}': {asked} rows asked for, {tally.taken} found{skipped} in '{config['path']}'; lower rows "
            "or add images."
        )


def _enumerate(rows: list[str]) -> str:
    more = f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
    return ", ".join(rows[:_NAMED]) + more
