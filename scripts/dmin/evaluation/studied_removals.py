"""What a study of removals compares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class StudiedRemovals:
    """The removals of a study, each named by its method or control.

    Attributes:
        images: files of what was generated after each; see :func:`dmin.retraining.regenerated.read_regenerated`.
        widths: the width of each method's scores, for methods that have one.
    """

    images: Mapping[str, list[Path]]
    widths: Mapping[str, str]

    def widths_of(self, removals: Iterable[str]) -> list[str]:
        """Return the width of each of these removals as tables name it; empty where it has none."""
        return [self.widths.get(name, "") for name in removals]
