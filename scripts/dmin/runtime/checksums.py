"""Checksums that results carry: inside JSON objects, and beside the files that have no room for one.

Parquet tables hold theirs in their footer (:mod:`dmin.runtime.parquet`), tensors in their header; arrays and indexes in
the JSON file beside them, with what they were made from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dmin.runtime.digests import sha256, text_digest

# The key of a JSON object, and how its value begins. Either alone tells that there was a checksum.
CHECKSUM = "checksum"
PREFIX = "sha256:"
# The folder of checksums beside files for people, one file each in the format of sha256sum.
RECORDS = ".sha256"
RECORDED = frozenset((".csv", ".html", ".pdf", ".png", ".svg"))


class TornError(Exception):
    """A file is not what was written; the message says how that was found."""


def seal_json(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON object with a checksum over everything else in it, whatever its layout and order."""
    return {**plain, CHECKSUM: PREFIX + _json_digest(plain)}


def open_json(sealed: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """Return a JSON object without its checksum, and whether it had one.

    Raises:
        TornError: the checksum fails, or is damaged itself.
    """
    rest = {key: value for key, value in sealed.items() if key != CHECKSUM}
    if CHECKSUM in sealed:
        if sealed[CHECKSUM] != PREFIX + _json_digest(rest):
            raise TornError("it fails its checksum")
        return rest, True
    if any(isinstance(value, str) and value.startswith(PREFIX) for value in rest.values()):
        raise TornError("its checksum is damaged")
    return rest, False


def record_of(path: Path) -> Path:
    """Return where the checksum of a file stands that has no other place for it."""
    return path.parent / RECORDS / f"{path.name}.sha256"


def drop_record(path: Path) -> None:
    """Forget the checksum of a file that is about to be replaced: a kill in between leaves none, never a wrong one."""
    record_of(path).unlink(missing_ok=True)


def write_record(path: Path) -> None:
    """Note the checksum of a file that has no other place for one; ``sha256sum --check`` reads it."""
    record = record_of(path)
    record.parent.mkdir(exist_ok=True)
    record.write_text(f"{sha256(path)}  {path.name}\n", encoding="utf-8")


def check_record(path: Path) -> bool:
    """Compare a file with the checksum beside it; False where there is none.

    Raises:
        TornError: they differ.
    """
    record = record_of(path)
    if not record.is_file():
        return False
    noted = record.read_bytes()
    # The note of a writer that was killed over it.
    if not noted.endswith(b"\n"):
        return False
    if noted != f"{sha256(path)}  {path.name}\n".encode():
        raise TornError(f"it is not what '{RECORDS}/{record.name}' beside it says")
    return True


def write_sums(path: Path, sums: Mapping[str, str]) -> None:
    """Note the checksums of files by their paths from the folder of ``path`` on; ``sha256sum --check`` reads it."""
    path.write_text("".join(f"{digest}  {name}\n" for name, digest in sums.items()), encoding="utf-8")


def check_sums(path: Path) -> bool:
    """Compare the files that such a list names, all that stand below its folder but those with a record, with it.

    Raises:
        TornError: one is missing, differs or is not listed.
    """
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    named = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    there = {
        file.relative_to(path.parent).as_posix()
        for file in path.parent.rglob("[!.]*")
        if file.is_file() and file != path and file.suffix not in RECORDED and RECORDS not in file.parts
    }
    if odd := sorted(there ^ named.keys()):
        raise TornError(f"'{odd[0]}' is {'not listed' if odd[0] in there else 'missing'}")
    for name, digest in named.items():
        if sha256(path.parent / name) != digest:
            raise TornError(f"'{name}' beside it is not what it says")
    return True


def _json_digest(plain: Mapping[str, Any]) -> str:
    return text_digest(json.dumps(plain, sort_keys=True, separators=(",", ":")))
