"""Digests of the contents of what a user brings: sources, bases, adapters.

A file is read once, and again when it changed. What was read is kept in ``.snakemake/dmin`` by size, times and inode of
each file; the time of the last change of the inode is among them, which nobody can set, so that a file with an old date
is seen too.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..runtime.links import link_mark
from .files import WEIGHTS

STORE = Path(".snakemake") / "dmin"
# A file that changed a moment ago may change again within the grain of the clock.
SETTLED_NS = 2 * 10**9
# Reading this much takes long enough to be told.
TOLD_BYTES = 2**30
_READERS, _AT_A_TIME = 8, 200

# What tells whether a file is the one that was read: size, time of writing, time of the inode's change, inode.
Mark = tuple[int, int, int, int]


class Contents:
    """Digests of files and folders, each taken once in a process.

    Args:
        store: the folder of what was read before; where it cannot be written, files are read again each time.
        tell: is given a sentence before much is read.
    """

    def __init__(self, store: Path = STORE, tell: Callable[[str], None] = lambda _: None) -> None:
        self.store = store
        self._tell = tell
        self._known: dict[tuple[str, ...], str] = {}

    def digest(self, *paths: str, suffixes: tuple[str, ...] = ()) -> str:
        """Return a digest of the names and the bytes of files, and of all files in folders; where they lie is no part.

        Only regular files count, and in folders those whose names end in one of ``suffixes``, in letters of any case,
        and where links to folders lead; '' where there is none, as for what is on the hub.
        """
        key = (*paths, *suffixes)
        if key not in self._known:
            parts = [self._digest(Path(path), suffixes) for path in paths]
            self._known[key] = _sha256(json.dumps(parts)) if any(parts) else ""
        return self._known[key]

    def weights(self, *paths: str) -> str:
        """Return the digest of the weights and configs of a pipeline or an adapter."""
        return self.digest(*paths, suffixes=WEIGHTS)

    def _digest(self, root: Path, suffixes: tuple[str, ...]) -> str:
        marks = dict(_marks(root, suffixes))
        if not marks:
            return ""
        place = self.store / f"{_sha256(json.dumps([str(root), *suffixes]))}.json"
        seal = _sha256(json.dumps(sorted(marks.items())))
        # The whole first: the files of a large folder take long to parse.
        whole, files = _read(place, seal)
        if whole:
            return whole
        files = self._read_files(root, marks, files)
        digest = _sha256(json.dumps(sorted((name, found) for name, (_, found) in files.items())))
        now = time.time_ns()
        settled = {name: entry for name, entry in files.items() if entry[0][2] < now - SETTLED_NS}
        _write(place, {"seal": seal, "digest": digest} if len(settled) == len(files) else {}, settled)
        return digest

    def _read_files(self, root: Path, marks: Mapping[str, Mark], known: Any) -> dict[str, tuple[Mark, str]]:
        """Return the mark and the digest of every file, read where its mark is another than the known one's."""
        found: dict[str, tuple[Mark, str]] = {}
        changed = []
        for name, mark in marks.items():
            try:
                before, digest = known[name]
                if tuple(before) != mark or not isinstance(digest, str):
                    raise ValueError
                found[name] = (mark, digest)
            except (KeyError, TypeError, ValueError):
                changed.append(name)
        size = sum(marks[name][0] for name in changed)
        if size > TOLD_BYTES:
            self._tell(f"Reading '{root}' ({size / 2**30:.1f} GiB) once, to see later when it changes.")
        parts = [changed[start : start + _AT_A_TIME] for start in range(0, len(changed), _AT_A_TIME)]
        with ThreadPoolExecutor(_READERS) as pool:
            for part, digests in zip(parts, pool.map(lambda names: _digests(root, names), parts), strict=True):
                found |= {name: (marks[name], digest) for name, digest in zip(part, digests, strict=True)}
        return found


def _marks(root: Path, suffixes: tuple[str, ...]) -> Iterator[tuple[str, Mark]]:
    """Yield the path below ``root`` and the mark of every regular file and linked folder; of a file, its own."""
    with suppress(OSError, ValueError):
        found = root.stat()
        if stat.S_ISREG(found.st_mode):
            yield "", _mark(found)
        elif stat.S_ISDIR(found.st_mode):
            yield from _folder_marks(root, "", suffixes)


def _folder_marks(folder: Path, place: str, suffixes: tuple[str, ...]) -> Iterator[tuple[str, Mark]]:
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.is_dir(follow_symlinks=False):
                with suppress(PermissionError):
                    yield from _folder_marks(folder / entry.name, f"{place}{entry.name}/", suffixes)
            elif entry.is_symlink() and _is_folder(entry):
                # Not followed: what it leads to is read where it lies.
                with suppress(OSError):
                    yield f"{place}{entry.name}", _mark(entry.stat(follow_symlinks=False))
            elif not suffixes or entry.name.lower().endswith(suffixes):
                with suppress(OSError):
                    found = entry.stat()
                    if stat.S_ISREG(found.st_mode):
                        yield f"{place}{entry.name}", _mark(found)


def _mark(found: os.stat_result) -> Mark:
    return (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def _digests(root: Path, names: Iterable[str]) -> list[str]:
    return [_linked_folder(root, name) or _file_sha256(root / name if name else root) for name in names]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # A ring of links.


def _linked_folder(root: Path, name: str) -> str:
    """Return where a link to a folder leads, from ``root`` on; empty for a file."""
    path = root / name
    return link_mark(path, root) if name and path.is_dir() else ""


def _file_sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        # The job that reads it tells.
        return "unreadable"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:16]


def _read(place: Path, seal: str) -> tuple[str, dict[str, Any]]:
    """Return the digest that was stored for ``seal``, else what was stored of each file; nothing where it is torn."""
    with suppress(OSError, ValueError, AttributeError), place.open(encoding="utf-8") as file:
        whole = json.loads(file.readline())
        if whole.get("seal") == seal and isinstance(whole.get("digest"), str):
            return whole["digest"], {}
        files = json.loads(file.readline())
        if isinstance(files, dict):
            return "", files
    return "", {}


def _write(place: Path, *lines: Mapping[str, Any]) -> None:
    """Store by a rename, so that processes side by side never read a part."""
    temporary = place.with_name(f".{place.stem}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
        temporary.replace(place)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
