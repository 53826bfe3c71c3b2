"""Words of a stranger's file inside a sentence."""

from __future__ import annotations

LONGEST = 120


def shown(text: object) -> str:
    """Return a name or a message from outside as one printable line of at most 120 characters."""
    lines = str(text).split("\n")
    line = "".join(letter if letter.isprintable() else "?" for letter in lines[0].strip() or lines[-1].strip())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 3]}..."


def reason(error: BaseException) -> str:
    """Return the first line of an error's message, or its kind where it says nothing, without a full stop."""
    return shown(error).rstrip(".:") or type(error).__name__
