"""The error a user can act on, and how its sentence is shown."""

from __future__ import annotations

import unicodedata
from pathlib import Path

# What a terminal or a page may take for an order: control characters, lone surrogates, ends of lines, turned text.
_ORDERS = ("Cc", "Cs", "Zl", "Zp")
_TURNS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class UserError(Exception):
    """A mistake in the config, the data or the environment, told in one sentence with the fix.

    Scripts print its message without a traceback.
    """


class DivergedError(UserError):
    """A training whose loss is not finite."""


def missing_file(path: Path) -> UserError:
    """Return the error of a result that is not there."""
    return UserError(f"File '{path}' does not exist; run the rule that makes it.")


def is_order(char: str) -> bool:
    """Return whether a terminal may take a character for an order: a control character, or one that turns text."""
    return unicodedata.category(char) in _ORDERS or char in _TURNS


def printable(text: str, keep: str = "\n") -> str:
    """Return a text with what is not shown, or is an order, written as its escape, but for what ``keep`` holds."""
    if text.isprintable():
        return text
    return "".join(ascii(char)[1:-1] if _is_unseen(char) and char not in keep else char for char in text)


def one_line(text: str) -> str:
    """Return a text as one line that any terminal may show."""
    return printable(" ".join(text.split()), "")


def _is_unseen(char: str) -> bool:
    return unicodedata.category(char)[0] == "C" or is_order(char)
