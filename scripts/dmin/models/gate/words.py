"""Words of a library's error inside a sentence."""

from __future__ import annotations

from dmin.runtime.text import shown


def reason(error: BaseException) -> str:
    """Return the first line of an error's message, or its kind where it says nothing, without a full stop."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return shown(lines[0]).rstrip(".:") if lines else type(error).__name__
