"""Cached gradients as they are read back from a narrower sketch in a smaller number format."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dmin.attribution.gradient_rows import GradientRows
from dmin.evaluation.storage import stored, stored_bytes
from dmin.gradients.sketches.fold import fold


class CompressedRows(GradientRows):
    """The gradients of ``rows`` folded to width ``v`` and read back from ``storage``; norms stay in single precision.

    Args:
        storage: see :func:`stored`.

    Raises:
        UserError: ``v`` does not divide the width of ``rows``, when they are read.
    """

    def __init__(self, rows: GradientRows, v: int, storage: str) -> None:
        # Samples, norms and metadata are those of the rows.
        vars(self).update(vars(rows))
        self.width = v
        # All reading goes through blocks, which fold.
        self._sketch = None
        self._rows, self._storage, self._read_norms = rows, storage, False

    @property
    def norms(self) -> np.ndarray:
        """See :attr:`GradientRows.norms`."""
        self._read_norms = True
        return self._rows.norms

    @property
    def bytes_per_sample(self) -> int:
        """Bytes of one sample: its sketches, their scales, and its norms where they have been read."""
        steps = self.shape[1]
        return stored_bytes(steps, self.width, self._storage) + 4 * steps * self._read_norms

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield float32 blocks ``[n, T, v]`` with the rows that they are, in order."""
        for rows, block in self._rows.blocks():
            yield rows, stored(fold(block, self.width), self._storage)
