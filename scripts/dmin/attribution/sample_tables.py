"""The tables of queries and training samples."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dmin.data.samples import image_bytes, iter_samples, read_columns
from dmin.data.subsets import read_subsets


@dataclass(frozen=True)
class SampleTables:
    """The table of a run's queries, that of its training samples, and that of held-out ones, where they are read.

    Where the queries are regions, ``whole`` is the table of the images that they are regions of.
    """

    queries: Path
    train: Path
    held_out: Path | None = None
    whole: Path | None = None

    def subsets(self) -> dict[str, str]:
        """Return the subset of every sample and query, by id."""
        return read_subsets([path for path in (self.train, self.held_out, self.queries) if path is not None])

    def repeats(self, train: Sequence[str]) -> np.ndarray:
        """Return how often an epoch sees each of the training samples, by their ids, ``[n]``.

        Raises:
            UserError: the table is missing or torn.
        """
        if "repeats" not in read_columns(self.train):
            return np.ones(len(train), dtype=np.int64)
        told = {row["id"]: row["repeats"] for row in iter_samples(self.train, ["id", "repeats"])}
        return np.array([told[name] for name in train], dtype=np.int64)

    def differ(self, queries: Sequence[str], held_out: Sequence[str]) -> np.ndarray:
        """Say of every query and held-out sample, by their ids, whether their images differ, ``[queries, m]``.

        A region differs from what its whole image differs from: the picture of a region is another one.

        Raises:
            UserError: a table is missing or torn.
        """
        digests = {
            row["id"]: hashlib.sha256(image_bytes(row["image"])).hexdigest()
            for table in (self.whole or self.queries, self.held_out)
            if table is not None
            for row in iter_samples(table, ["id", "image"])
        }
        if self.whole is not None:
            digests |= {row["id"]: digests[row["query"]] for row in iter_samples(self.queries, ["id", "query"])}
        asked, others = (np.array([digests[name] for name in names]) for names in (queries, held_out))
        different: np.ndarray = asked[:, None] != others[None, :]
        return different
