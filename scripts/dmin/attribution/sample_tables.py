"""The tables of queries and training samples."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dmin.data.subsets import read_subsets


@dataclass(frozen=True)
class SampleTables:
    """The table of a run's queries and that of its training samples."""

    queries: Path
    train: Path

    def subsets(self) -> dict[str, str]:
        """Return the subset of every training sample and query, by id."""
        return read_subsets([self.train, self.queries])
