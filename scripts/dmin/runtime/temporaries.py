"""Names of unfinished files and folders, which tell whose they are, and the removal of those nobody will finish."""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import re
import shutil
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

# A file of another machine, or of a container with processes of its own, is left alone this long after its last change.
_PATIENCE = 24 * 3600.0


def temporary_name(path: Path, token: str) -> str:
    """Return the name of a temporary sibling of ``path``: hidden, with the place and number of the writing process."""
    return f".{path.stem}.{_place()}-{os.getpid()}-{token}.tmp{path.suffix}"


def sweep(path: Path) -> None:
    """Remove the temporary siblings of ``path`` that dead processes left.

    A process that ran here is dead when its number is free. Whether one that ran elsewhere is alive cannot be told, so
    its file must have been untouched for a day.
    """
    name = re.compile(rf"\.{re.escape(path.stem)}\.(?:(\w+)-)?(\d+)-\w+\.tmp{re.escape(path.suffix)}")
    with suppress(OSError):
        for file in path.parent.iterdir():
            found = name.fullmatch(file.name)
            if found is None:
                continue
            # The file may go at any moment, by its writer or another sweeper.
            with suppress(OSError):
                here = found[1] == _place()
                dead = not _lives(int(found[2])) if here else time.time() - file.stat().st_mtime > _PATIENCE
                if dead and file.is_dir() and not file.is_symlink():
                    shutil.rmtree(file)
                elif dead:
                    file.unlink()


def remove_if_empty(folder: Path) -> None:
    """Remove a folder in which nothing is left; other jobs may fill it, or remove it too, at any moment.

    Raises:
        OSError: it is empty and cannot be removed.
    """
    try:
        folder.rmdir()
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST):
            raise


@cache
def _place() -> str:
    """Return a name of where the numbers of processes mean the same: one boot of one machine, outside of containers."""
    parts = [platform.node()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text())
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
