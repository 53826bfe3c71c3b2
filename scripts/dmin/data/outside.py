"""The door for image files from outside: what is opened, and what a cell that should hold an image holds instead."""

from __future__ import annotations

import base64
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path

from dmin.folders.files import require_inside
from dmin.runtime.errors import UserError
from dmin.runtime.text import is_lfs_pointer, shown

LARGEST_FILE = 256 * 2**20

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_PRINTED = re.compile(r"""(b['"]|\{['"](bytes|path)['"]:|\[\[|<PIL\.)""")
_MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*")


class UnreadableImageError(UserError):
    """One image that cannot be read, where others may.

    Attributes:
        reason: why, where more can be told than that its bytes are not those of an image; else empty.
    """

    def __init__(self, sentence: str, reason: str = "") -> None:
        super().__init__(sentence)
        self.reason = reason


def read_inside(path: Path, roots: Sequence[Path]) -> bytes:
    """Read a regular file that lies, links followed, in one of some folders.

    Raises:
        UserError: it lies elsewhere.
        UnreadableImageError: it is no regular file, or too large.
        OSError: it cannot be read.
    """
    if "\0" in str(path):
        raise _unreadable(path, "has a NUL in its name")
    real = require_inside(path, roots)
    kind = stat.S_IFMT(real.stat().st_mode)
    if kind != stat.S_IFREG:
        raise _unreadable(path, f"is {_KINDS.get(kind, 'a special file')}, not a file")
    # Should it have been replaced by a pipe or a link since, this neither waits nor follows.
    handle = os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise _unreadable(path, "is not a file")
        if status.st_size > LARGEST_FILE:
            raise _unreadable(path, f"is larger than {LARGEST_FILE // 2**20} MiB")
        return file.read(LARGEST_FILE + 1)


def check_cell_bytes(data: bytes) -> None:
    """Refuse bytes that stand for an image and are none.

    Raises:
        UserError: they are a pointer of Git LFS, an address or base64; the sentence says so.
    """
    if is_lfs_pointer(data):
        raise UserError("the image is a pointer of Git LFS, not the file; run 'git lfs pull'.")
    head = data[:64]
    if head.isascii():
        check_cell_text(head.decode("ascii"))


def check_cell_text(text: str) -> None:
    """Refuse a text that is neither the path of an image nor could be.

    Raises:
        UserError: it is an address, base64 or the printed form of something; the sentence says so.
    """
    start = text[:64].strip()
    if start.startswith("data:") or _is_base64(start):
        found, fix = "base64 text", "decode it to bytes"
    elif _ADDRESS.match(start):
        found, fix = "addresses", "download the images and store their bytes or paths"
    elif _PRINTED.match(start):
        found, fix = "the printed form of images", "store their encoded bytes or paths"
    else:
        return
    raise UserError(f"the column holds {found} ('{shown(text[:40])}') in place of images; {fix}.")


def _is_base64(text: str) -> bool:
    """Tell whether the beginning of a text is that of an encoded image in base64."""
    whole = text[: len(text) // 4 * 4]
    try:
        return len(whole) >= 16 and base64.b64decode(whole, validate=True).startswith(_MAGIC)
    except ValueError:
        return False


def _unreadable(path: Path, reason: str) -> UnreadableImageError:
    return UnreadableImageError(f"Image '{shown(str(path))}' {reason}.", f"'{shown(path.name)}' {reason}")
