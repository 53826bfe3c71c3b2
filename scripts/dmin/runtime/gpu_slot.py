"""One GPU for each job of a workstation that has several."""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import re
import stat
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from dmin.runtime.errors import UserError

# The open lock file of this process; the system lets go of the lock when the process ends, however it ends.
_held: tuple[int, int] | None = None

_NAMED = re.compile(r"[A-Za-z0-9._:/-]{1,100}")


def lock_folder() -> Path:
    """Return the folder of the locks: that of this user's sessions, else one below the folder for temporary files."""
    session = Path(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}")
    parent = session if _is_ours(session) else Path(tempfile.gettempdir())
    return parent / f"dmin-gpus-{os.getuid()}"


def visible_gpus(count: int) -> list[str]:
    """Return a name for each of the ``count`` GPUs that this process sees: its entry of ``CUDA_VISIBLE_DEVICES``."""
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return named if len(named) == count else [str(index) for index in range(count)]


def take_gpu(names: Sequence[str], folder: Path | None = None) -> int:
    """Take a GPU for as long as this process lives, and the same one whenever it is asked again.

    No two processes of a user have the same GPU while there are no more processes than GPUs; beyond that every GPU gets
    a second process before any gets a third. Nobody waits.

    Args:
        names: of the GPUs to choose from, equal in all processes.
        folder: of the lock files, by default :func:`lock_folder`.

    Returns:
        The place of the GPU in ``names``.

    Raises:
        UserError: The folder is not this user's alone, or a GPU's name is none.
        OSError: The folder cannot be written to.
    """
    global _held
    if _held is None:
        _held = _first_free(names, folder or lock_folder())
    return _held[1]


def _first_free(names: Sequence[str], folder: Path) -> tuple[int, int]:
    for name in names:
        if not _NAMED.fullmatch(name):
            raise UserError(f"CUDA_VISIBLE_DEVICES names the GPU {name!r}, which is no name of one; correct it.")
    within = _open_folder(folder)
    try:
        for taken in itertools.count():
            for index, name in enumerate(names):
                # A slash, as in the names of MIG parts, is no folder.
                handle = _lock(within, f"{name.replace('/', '_')}.{taken}.lock")
                if handle is not None:
                    return handle, index
    finally:
        os.close(within)
    raise AssertionError("some lock is always free")


def _open_folder(folder: Path) -> int:
    """Open the folder of the locks, made for this user alone where it is not there; never through a link.

    Raises:
        UserError: it is a link, no folder, or not this user's alone.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise UserError(
            f"'{folder}', the folder of the GPU locks, is a link or no folder ({error.strerror}); remove it, or set "
            "TMPDIR."
        ) from None
    found = os.fstat(handle)
    if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        os.close(handle)
        raise UserError(
            f"'{folder}', the folder of the GPU locks, is open to other users; remove it, or set TMPDIR to a folder of "
            "your own."
        )
    return handle


def _lock(folder: int, name: str) -> int | None:
    """Lock a file of an open folder, and return it open; None where another process has it locked.

    Raises:
        UserError: it is a link.
    """
    try:
        handle = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise UserError(
            f"The GPU lock '{name}' is a link; remove the folder of the GPU locks, or set TMPDIR."
        ) from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    except BaseException:
        os.close(handle)
        raise
    return handle


def _is_ours(folder: Path) -> bool:
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not stat.S_IMODE(found.st_mode) & 0o077
