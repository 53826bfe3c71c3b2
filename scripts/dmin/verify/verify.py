"""Check every file that a config's runs consist of, and say what is wrong with any."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import pandas as pd

from dmin.runtime.atomic import write_csv
from dmin.runtime.errors import UserError
from dmin.runtime.provenance import versions
from dmin.runtime.readers import read_csv
from dmin.verify.digests import Ancestors
from dmin.verify.folders import check_folder
from dmin.verify.records import FaultError, Record, read_record

log = logging.getLogger(__name__)

COLUMNS = ["run", "kind", "file", "status", "detail"]
OK = "ok"
GAMES = "games/"


class Entry(TypedDict):
    """A result to check.

    ``files`` are its paths by role; ``config`` is what it must have been made under; ``made_from`` are its ancestors by
    role, as :class:`Ancestors` takes them.
    """

    run: str
    kind: str
    files: dict[str, str]
    config: dict[str, Any]
    made_from: dict[str, Sequence[Any]]


def check_files(entries: Sequence[Entry], folders: Mapping[str, str], root: Path, table: Path) -> None:
    """Write a table with one row per entry, then per other file of ``folders``: ``run, kind, file, status, detail``.

    A game, ``games/NAME`` as a run, is no part of the default target: one that was never played has no rows.

    ``status`` is ``ok``; ``missing``; ``torn`` (bytes are not those that were written); ``foreign`` (it does not say
    what it was made from, or holds something else); or ``stale`` (made under another config, or from other files than
    those that stand there). Every file is read to its end once.

    Args:
        folders: the run of each folder, empty for one that several runs share; the kind of its files is their suffix.
        root: what the paths of the entries and the folders are relative to.
    """
    ancestors, rows, seen = Ancestors(root), list[dict[str, str]](), set[str]()
    played = [entry for entry in entries if not entry["run"].startswith(GAMES) or (root / entry["run"]).is_dir()]
    for entry in played:
        status, detail = check_entry(entry, ancestors)
        file = next(iter(entry["files"].values()))
        rows.append(dict(zip(COLUMNS, (entry["run"], entry["kind"], file, status, detail), strict=True)))
        seen.update(entry["files"].values())
    for folder, run in folders.items():
        for file, status, detail in check_folder(root, folder, seen):
            kind = Path(file).suffix.removeprefix(".")
            rows.append(dict(zip(COLUMNS, (run, kind, file, status, detail), strict=True)))
    frame = pd.DataFrame(rows, columns=COLUMNS)
    write_csv(frame, table)
    log.info("%d files checked, %d of them not ok", len(frame), int((frame["status"] != OK).sum()))


def check_entry(entry: Entry, ancestors: Ancestors) -> tuple[str, str]:
    """Return the status of one entry and what it rests on: the fault, what it does not say of its settings, or the
    versions that differ from today's."""
    try:
        files = {role: ancestors.root / path for role, path in entry["files"].items()}
        record = read_record(entry["kind"], files)
        if record.silent:
            return OK, "it does not say what it was made from"
        # Files that changed first: rows that are counted of them are among the settings.
        for role, ancestor in entry["made_from"].items():
            _require_ancestor(record, role, ancestor, ancestors)
        _require_config(record, entry["config"])
    except FaultError as fault:
        return fault.status, str(fault)
    if record.partial and len(record.config) < len(entry["config"]):
        return OK, "it does not say all settings that it was made under"
    installed = versions()
    other = [f"{name} {value}" for name, value in record.versions.items() if installed.get(name) != value]
    return OK, f"made with {', '.join(other)}" if other else ""


def require_ok(table: Path) -> None:
    """Refuse a table of checks in which anything is not ok.

    Raises:
        UserError: one line for each such file.
    """
    frame = read_csv(table, keep_default_na=False)
    bad = frame[frame["status"] != OK]
    if len(bad):
        lines = [f"{row.status}: {row.file} ({row.detail})" for row in bad.itertuples()]
        raise UserError("\n".join([f"{len(bad)} of {len(frame)} files are not ok; delete them and run again:", *lines]))
    log.info("%d files are ok", len(frame))


def _require_config(record: Record, expected: Mapping[str, Any]) -> None:
    given, wanted = (dict(_leaves(json.loads(json.dumps(side)))) for side in (record.config, expected))
    for key in sorted(given.keys() if record.partial else given.keys() | wanted.keys()):
        if given.get(key) != wanted.get(key):
            raise FaultError("stale", f"made with {key} {given.get(key)!r}, and the config has {wanted.get(key)!r}")


def _require_ancestor(record: Record, role: str, ancestor: Sequence[Any], ancestors: Ancestors) -> None:
    try:
        digest = ancestors.digest(ancestor)
    except (OSError, UserError):
        # It has, or lacks, a row of its own.
        return
    if record.made_from.get(role) != digest:
        raise FaultError("stale", f"its {role} changed since it was made")


def _leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, child in value.items():
            yield from _leaves(child, f"{place}.{key}" if place else key)
    else:
        yield place, value
