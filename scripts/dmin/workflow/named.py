"""Entries of the config by their names, for files that are asked for by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from ..runtime.errors import UserError
from ..runtime.text import shown

V = TypeVar("V")


class Named(dict[str, V]):
    """The entries of a table of the config; whoever asks for another is told which there are.

    Args:
        table: where they stand in the config.
    """

    def __init__(self, table: str, entries: Mapping[str, V]) -> None:
        super().__init__(entries)
        self.table = table

    def __missing__(self, name: str) -> V:
        known = ", ".join(sorted(self)) or "nothing"
        raise UserError(
            f"{self.table} has no '{shown(name)}', it has {known}; correct the name of the file that is asked for, or "
            "add it to the config."
        )
