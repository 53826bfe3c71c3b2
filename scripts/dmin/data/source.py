"""Sources of training images: a local parquet file, an image folder or a hub data set, as one parquet file."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path, PurePath

import numpy as np
import pyarrow as pa

from dmin.data import cells
from dmin.data.columns import Columns, choose_columns
from dmin.data.folder import open_local
from dmin.data.images import decode_image
from dmin.data.opened import Opened, Row
from dmin.data.outside import UnreadableImageError
from dmin.data.samples import SampleWriter, image_bytes
from dmin.data.tally import NAMED, Tally, check_tally, enumerate_rows
from dmin.folders.count import count_rows
from dmin.folders.files import is_local
from dmin.folders.tables import TEXT_TABLES
from dmin.runtime.atomic import atomic_path
from dmin.runtime.errors import UserError
from dmin.runtime.seeds import derive_seed
from dmin.runtime.text import shown
from dmin.settings.models import Source

log = logging.getLogger(__name__)

SOURCE_COLUMNS = ("image", "prompt", "label", "origin", "repeats")


def fetch_source(name: str, config: Source, out: Path, seed: int | None = None) -> None:
    """Write rows of a source as parquet with the columns ``image{bytes,path}, prompt, label, origin, repeats``.

    Images keep their encoding; their ``path`` is from the folder of the source on, or their name alone where it lies
    nowhere in it. The counts are in the metadata of the file under ``dmin``, as JSON with ``rows``, ``skipped`` and
    ``list_captions``.

    Args:
        name: the source's name, for messages.
        config: where ``labels`` is not null, only their rows are taken. A null ``caption_column`` gives empty prompts;
            a null ``origin_column`` gives the files of images, from the folder of the source on, else row numbers.
        out: the parquet file to make.
        seed: of the rows that are drawn, where ``sample`` is random; None takes the first.

    Raises:
        UserError: the source cannot be reached or read, lacks a column, has too few rows, an unreadable image
            (unless ``on_unreadable`` is ``skip``) or an empty caption.
    """
    start = time.monotonic()
    table = _open_source(name, config)
    columns = choose_columns(name, config, table)
    wanted, tally = config["rows"], Tally(caption_column=columns.caption)
    drawn = None if seed is None else _draw(name, config, table, seed)
    with atomic_path(out) as temporary, SampleWriter(temporary, SOURCE_COLUMNS) as writer:
        for row in _read_rows(name, config, table, columns, drawn, tally):
            writer.append(row)
        check_tally(name, config, tally)
        counts = {"rows": tally.taken, "skipped": len(tally.unreadable), "list_captions": tally.list_captions}
        writer.set_metadata("dmin", json.dumps(counts, sort_keys=True))
    if tally.unreadable:
        log.warning("source %s: skipped unreadable %s", name, enumerate_rows(tally.unreadable))
    if tally.list_captions:
        log.info("source %s: %d captions are lists; the first non-empty one is used", name, tally.list_captions)
    if tally.long_captions:
        log.warning(
            "source %s: %d captions have several lines, which are one text here; sd-scripts trains on the first line",
            name,
            tally.long_captions,
        )
    log.info(
        "source %s: %d rows taken (%s asked for), %d skipped, %.1f s",
        name,
        tally.taken,
        "all" if wanted is None else wanted,
        len(tally.unreadable),
        time.monotonic() - start,
    )


def _open_source(name: str, config: Source) -> Opened:
    path, split = str(config["path"]), str(config["split"])
    if not is_local(path):
        from dmin.data.hub import open_hub  # here, because it imports datasets

        return open_hub(name, path, split, config["revision"])
    local = Path(path)
    if not local.exists():
        raise UserError(
            f"Source '{name}': file '{shown(path)}' does not exist; correct path, which is relative to the working "
            "directory."
        )
    if not local.is_dir() and (local.suffix not in (".parquet", *TEXT_TABLES) or not local.is_file()):
        raise UserError(
            f"Source '{name}': file '{shown(path)}' is no parquet file; set path to a .parquet file, a table that "
            f"names images ({', '.join(TEXT_TABLES)}) or a folder."
        )
    try:
        return open_local(local, split, config["repeats"] == "folders", config["image_column"])
    except UserError as error:
        raise UserError(f"Source '{name}': {error}") from error
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _unreadable_source(name, path, error) from error


def _unreadable_source(name: str, path: str, error: Exception) -> UserError:
    detail = shown((str(error).splitlines() or [type(error).__name__])[0].rstrip("."))
    fix = getattr(error, "fix", "") or "set path to an intact parquet file or image folder, and split to one it has"
    return UserError(f"Source '{name}': '{shown(path)}' cannot be read ({detail}); {fix}.")


def _read_rows(
    name: str, config: Source, table: Opened, columns: Columns, drawn: Collection[int] | None, tally: Tally
) -> Iterator[Row]:
    """Yield the rows taken and count the rest in ``tally``.

    Faulty rows do not stop the reading, so that one message counts all of them.

    Args:
        drawn: the numbers of the rows to take; a later row takes the place of one that is skipped. None takes the
            first.
    """
    skip, owed = config["on_unreadable"] == "skip", 0
    for number, row in enumerate(_raw_rows(name, config, table, columns.read)):
        examined = tally.taken + len(tally.uncaptioned) + (0 if skip else len(tally.unreadable))
        if examined == config["rows"]:
            return
        try:
            label = cells.text("label_column", columns.label, row, table.classes)
            if config["labels"] is not None and label not in config["labels"]:
                if len(tally.other_labels) <= NAMED:
                    tally.other_labels[label] = None
                continue
            if drawn is not None and number not in drawn:
                if not owed:
                    continue
                owed -= 1
            cell = row[columns.image]
            words = columns.caption and cells.class_name(table.classes.get(columns.caption), row[columns.caption])
            path = _place(cell, table.roots)
            origin = cells.text("origin_column", columns.origin, row, table.classes) or path or str(number)
            data = image_bytes(cell, table.roots)
            # Decoded once here, as the assembly will.
            decode_image(data, shown(path or ""), 1)
        except (UnreadableImageError, OSError, ValueError) as error:
            log.warning("source %s: row %d: %s", name, number, shown(str(error)))
            tally.unreadable.append(_row_name(number, row[columns.image]))
            tally.reason = tally.reason or _reason(error)
            owed += 1
            continue
        except UserError as error:
            raise UserError(f"Source '{name}', row {number}: {error}") from error
        prompt = cells.caption(name, columns.caption, number, words) if columns.caption else ""
        prompt = cells.with_trigger(name, number, prompt, config["trigger"])
        if columns.caption and not prompt and config["on_empty_caption"] == "error":
            tally.uncaptioned.append(_row_name(number, cell))
            continue
        tally.list_captions += isinstance(words, list | tuple)
        tally.long_captions += "\n" in prompt
        tally.taken += 1
        for text in (prompt, label or "", origin):
            cells.check_unicode(name, number, text)
        asked = config["repeats"]
        repeats = asked if isinstance(asked, int) else row[table.repeats] if table.repeats else 1
        image = {"bytes": data, "path": path}
        yield {"image": image, "prompt": prompt, "label": label, "origin": origin, "repeats": repeats}


def _draw(name: str, config: Source, table: Opened, seed: int) -> set[int]:
    """Return the numbers of ``rows`` rows that are drawn of those with a label that is taken."""
    labels, column = config["labels"], config["label_column"]
    if labels is None or column is None:
        numbers = list(range(count_rows(Path(config["path"]), config["split"])))
    else:
        found = (
            cells.text("label_column", column, row, table.classes) for row in _raw_rows(name, config, table, [column])
        )
        numbers = [number for number, label in enumerate(found) if label in labels]
    generator = np.random.default_rng(derive_seed(seed, "sample", name))
    wanted = len(numbers) if config["rows"] is None else min(config["rows"], len(numbers))
    return {numbers[place] for place in generator.choice(len(numbers), wanted, replace=False)}


def _raw_rows(name: str, config: Source, table: Opened, columns: Sequence[str]) -> Iterator[Row]:
    iterator = iter(table.read([*columns, *([table.repeats] if table.repeats else [])]))
    while True:
        try:
            row = next(iterator)
        except StopIteration:
            return
        except UserError as error:
            raise UserError(f"Source '{name}': {error}") from error
        except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
            raise _unreadable_source(name, config["path"], error) from error
        yield row


def _place(cell: object, roots: Sequence[Path]) -> str | None:
    """Return the file of an image, from the folder of the source on, or its name alone where it lies nowhere in it.

    The folders before that differ between machines.
    """
    path = _path(cell)
    stored = isinstance(cell, Mapping) and cell.get("bytes") is not None
    if path and roots and (Path(path).is_absolute() or not stored):
        whole = Path(os.path.normpath(roots[0] / path))
        if whole != roots[0] and whole.is_relative_to(roots[0]):
            return _text(whole.relative_to(roots[0]).as_posix())
    return _file_name(cell)


def _path(cell: object) -> str | None:
    """Return the path of an image, as its cell has it."""
    path = cell.get("path") if isinstance(cell, Mapping) else cell
    return path if isinstance(path, str) else None


def _file_name(cell: object) -> str | None:
    """Return the last part of an image's path."""
    path = _path(cell)
    return None if path is None else _text(PurePath(path).name) or None


def _text(name: str) -> str:
    """Return a file's name as text; one that is none in the encoding of file systems keeps what of it is."""
    return name.encode("utf-8", "backslashreplace").decode()


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
