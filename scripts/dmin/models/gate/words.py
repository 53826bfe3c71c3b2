"""Words of a library's error inside a sentence."""

from __future__ import annotations

from dmin.runtime.text import shown


def reason(error: BaseException) -> str:
    """Return the first line of an error's message, or its kind where it says nothing, without a full stop.

    A line that ends with a colon says nothing without the next one.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = " ".join(lines[: 2 if lines[0].endswith(":") else 1]) if lines else type(error).__name__
    return shown(told).rstrip(".:")
