"""One GPU for each job of a workstation that has several."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

# The lock of this process; the system lets go of it when the process ends, however it ends.
_held: tuple[FileLock, int] | None = None


def lock_folder() -> Path:
    """Return the folder of the locks, which all users of the machine share."""
    return Path(tempfile.gettempdir()) / "dmin-gpus"


def visible_gpus(count: int) -> list[str]:
    """Return a name for each of the ``count`` GPUs that this process sees: its entry of ``CUDA_VISIBLE_DEVICES``."""
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return named if len(named) == count else [str(index) for index in range(count)]


def take_gpu(names: Sequence[str], folder: Path | None = None) -> int:
    """Take a GPU for as long as this process lives, and the same one whenever it is asked again.

    No two processes have the same GPU while there are no more processes than GPUs; beyond that every GPU gets a second
    process before any gets a third. Nobody waits.

    Args:
        names: of the GPUs to choose from, equal in all processes.
        folder: of the lock files, by default :func:`lock_folder`.

    Returns:
        The place of the GPU in ``names``.

    Raises:
        OSError: The folder cannot be written to.
    """
    global _held
    if _held is None:
        _held = _first_free(names, folder or lock_folder())
    return _held[1]


def _first_free(names: Sequence[str], folder: Path) -> tuple[FileLock, int]:
    folder.mkdir(parents=True, exist_ok=True)
    with suppress(PermissionError):
        # Of whoever made it; open to the other users.
        folder.chmod(0o777)
    for taken in itertools.count():
        for index, name in enumerate(names):
            lock = FileLock(folder / f"{name}.{taken}.lock", timeout=0, mode=0o666)
            with suppress(Timeout):
                lock.acquire()
                return lock, index
    raise AssertionError("some lock is always free")
