"""Gradients in memory that methods read as those of a cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dmin.attribution.gradient_rows import GradientRows


@dataclass(frozen=True)
class HeldRows:
    """What :class:`GradientRows` offers to methods, of rows that are held.

    Attributes:
        ids: of the rows.
        metadata: of the cache that they are of.
        rows: float32 ``[N, T, width]``, each in units of the norm beside it.
        norms: ``[N, T]``.
    """

    ids: Sequence[str]
    metadata: dict[str, Any]
    rows: np.ndarray
    norms: np.ndarray

    @classmethod
    def taken(cls, rows: GradientRows, ids: Sequence[str]) -> HeldRows:
        """Return the rows of some ids, in their order, as they are stored."""
        places = [rows.ids.index(name) for name in ids]
        wanted = sorted({*places})
        found: dict[int, np.ndarray] = {}
        for part, block in rows.blocks():
            first = part.start
            inside = [place for place in wanted if first <= place < first + len(block)]
            found |= {place: block[place - first].copy() for place in inside}
        return cls(list(ids), rows.metadata, np.stack([found[place] for place in places]), rows.norms[places])

    @property
    def width(self) -> int:
        """Values of a row at one timestep."""
        return self.rows.shape[2]

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of samples and of timesteps."""
        return self.rows.shape[0], self.rows.shape[1]

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield all rows; a caller may write to them."""
        yield slice(0, len(self.rows)), self.rows.copy()

    def products(self, queries: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield the inner products float32 ``[Q, N]`` of ``queries [Q, T * width]`` with all rows."""
        yield slice(0, len(self.rows)), queries @ self.rows.reshape(len(self.rows), -1).T

    def all(self) -> np.ndarray:
        """Return every row, float32 ``[N, T, width]``."""
        return self.rows.copy()
