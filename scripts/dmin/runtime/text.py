"""Texts from outside: how their bytes are read, and what of them may be shown."""

from __future__ import annotations

import codecs
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .errors import UserError

# The longest first: that of UTF-32 begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
_LFS = b"version https://git-lfs.github.com/spec/"
_LARGEST = 256 * 2**20
# U+FFFE and U+FFFF are no characters, and XML has no way to write them.
_NO_CHARACTERS = "\ufffe\uffff"


def drawable(text: str) -> str:
    """Return a text that every page, terminal and font can take.

    Control characters (but for tabs and ends of lines), halves of surrogate pairs and what is no character become
    U+FFFD; XML cannot even hold them escaped.
    """
    return "".join(
        "\ufffd"
        if char not in "\t\n" and (unicodedata.category(char) in ("Cc", "Cs") or char in _NO_CHARACTERS)
        else char
        for char in text
    )


def shown(name: object) -> str:
    """Return a name or a value as it can stand in a sentence: one line, what cannot be seen as an escape."""
    seen = "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode() for char in str(name)
    )
    return seen if len(seen) <= 160 else f"{seen[:100]}…{seen[-40:]}"


class TwiceError(Exception):
    """A key that stands twice in an object of JSON; the message is the key."""


def unique_keys(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON from its ``pairs``, as ``object_pairs_hook`` gives them.

    Raises:
        TwiceError: a key stands twice, of which Python's own reader keeps the last.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise TwiceError(next(key for key in keys if keys.count(key) > 1))
    return found


def is_lfs_pointer(data: bytes) -> bool:
    """Tell whether these first bytes of a file are those of Git LFS, which stands in for a file not downloaded."""
    return data.startswith(_LFS)


def read_text(path: Path, what: str) -> str:
    """Read a text file from outside as UTF-8, with or without a byte order mark.

    Args:
        what: what the file is to the user, which begins the sentence of an error.

    Raises:
        UserError: it is no regular file, too large, a pointer of Git LFS, or in another encoding, which is guessed.
    """
    if not path.is_file():
        kind = "is a folder" if path.is_dir() else "is no file" if path.exists() else "does not exist"
        raise UserError(f"{what} '{shown(str(path))}' {kind}; name a text file.")
    if path.stat().st_size > _LARGEST:
        raise UserError(f"{what} '{shown(str(path))}' is larger than {_LARGEST // 2**20} MiB; name a text file.")
    data = path.read_bytes()
    if is_lfs_pointer(data):
        raise UserError(f"{what} '{shown(str(path))}' is a pointer of Git LFS, not the file; run 'git lfs pull'.")
    encoding = _other_encoding(data)
    if encoding:
        raise UserError(f"{what} '{shown(str(path))}' is not in UTF-8 but, it seems, in {encoding}; save it as UTF-8.")
    return data.decode("utf-8-sig")


def text_lines(text: str) -> list[str]:
    r"""Return the lines of a text, which end in \n or \r\n and nothing else: captions may hold other separators."""
    return [line.removesuffix("\r") for line in text.split("\n")]


def _other_encoding(data: bytes) -> str | None:
    """Guess the encoding of bytes that are not UTF-8; None where they are."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return encoding
    if b"\0" in data:
        # Texts of European languages have every other byte zero.
        return "UTF-16" if abs(data[::2].count(0) - data[1::2].count(0)) > len(data) // 8 else "a binary format"
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return "cp1252 (Windows) or a relative of it"
    return None
