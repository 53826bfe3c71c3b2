"""What guards a folder of unfinished work: one writer at a time, and attempts that must get on."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import platform
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dmin.runtime.atomic import write_json
from dmin.runtime.errors import UserError
from dmin.runtime.readers import read_json
from dmin.runtime.temporaries import remove_if_empty

log = logging.getLogger(__name__)

# Attempts in a row that may begin at the same place; the next one is refused.
ATTEMPTS = 2
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextmanager
def only_writer(folder: Path, name: str) -> Iterator[None]:
    """Hold the lock ``{folder}/{name}.lock`` while the block runs; the kernel lets go of it however the process dies.

    The file names the holder. It is removed at the end, and the folder with it where nothing else is left there.
    On a file system without locks the block runs unguarded, and a warning says so.

    Raises:
        UserError: another process holds the lock; it is named.
    """
    path = folder / f"{name}.lock"
    handle = _acquire(path)
    try:
        yield
    finally:
        # Before the lock is let go, so that nobody's fresh file is removed.
        path.unlink(missing_ok=True)
        os.close(handle)
        remove_if_empty(folder)


def _acquire(path: Path) -> int:
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:
            # Another writer of the folder left it empty and removed it.
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(handle, 200, 0).decode(errors="replace").strip() or "another process"
            os.close(handle)
            raise UserError(
                f"'{path}' is locked: {holder} writes there; wait for it or end it, and run again."
            ) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                os.close(handle)
                raise
            log.warning("'%s' cannot be locked (%s); see to it that no other job writes there", path, error)
        # The holder before may have removed the file between the two calls.
        if path.exists() and path.stat().st_ino == os.fstat(handle).st_ino:
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"process {os.getpid()} on {platform.node()}\n".encode(), 0)
            return handle
        os.close(handle)


def discard_others(folder: Path, prefix: str, key: str) -> None:
    """Remove what work under other settings left: what is called ``prefix`` and another digest than ``key``.

    Nobody will go on with it once a result stands. The caller is the only writer of what is called so.
    """
    name = re.compile(rf"{re.escape(prefix)}([0-9a-f]{{16}})(-\w+)?")
    for path in sorted(folder.iterdir()):
        found = name.fullmatch(path.name)
        if found is not None and found[1] != key:
            shutil.rmtree(path)


def read_note(file: Path, otherwise: Mapping[str, Any]) -> Mapping[str, Any]:
    """Read a note of unfinished work; ``otherwise`` where there is none, or, with a warning, none that is whole."""
    try:
        return dict(read_json(file)) if file.exists() else otherwise
    except UserError as error:
        log.warning("left out: %s", error)
        return otherwise


def count_attempt(file: Path, done: int, what: str) -> None:
    """Note in ``file`` that an attempt begins after ``done`` steps, and refuse one that would get no further.

    A refusal removes the note, so that a run after it tries again.

    Raises:
        UserError: the last attempts began here too, and all of them ended before anything more was saved.
    """
    before = read_note(file, {"done": done, "attempts": 0})
    attempts = before["attempts"] if before["done"] == done else 0
    if attempts >= ATTEMPTS:
        file.unlink()
        raise UserError(
            f"{what} made no progress: the last {attempts} attempts both began after {done} and ended before more was "
            "saved; see their end (memory, time limit), raise the rule's runtime or lower compute.save_every, and run "
            "again."
        )
    write_json({"done": done, "attempts": attempts + 1}, file)
