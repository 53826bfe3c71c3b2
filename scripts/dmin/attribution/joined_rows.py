"""The gradients of training samples and of held-out ones, as those of one set."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dmin.attribution.gradient_rows import GradientRows, require_equal_settings
from dmin.runtime.digests import config_digest


class JoinedRows(GradientRows):
    """The rows of two sets, one after the other.

    Raises:
        UserError: they were cached under different settings.
    """

    def __init__(self, first: GradientRows, second: GradientRows) -> None:
        require_equal_settings(second, first)
        self._parts = (first, second)
        self.metadata, self.width = first.metadata, first.width
        self.ids = [*first.ids, *second.ids]
        self.digest = config_digest([part.digest for part in self._parts])

    @property
    def norms(self) -> np.ndarray:
        return np.concatenate([part.norms for part in self._parts])

    @property
    def errors(self) -> np.ndarray:
        return np.concatenate([part.errors for part in self._parts])

    @property
    def v(self) -> str:
        return self._parts[0].v

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        first = 0
        for part in self._parts:
            for rows, block in part.blocks():
                yield slice(first + rows.start, first + rows.start + len(block)), block
            first += len(part.ids)

    def products(self, queries: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        first = 0
        for part in self._parts:
            for rows, products in part.products(queries):
                yield slice(first + rows.start, first + rows.start + products.shape[1]), products
            first += len(part.ids)

    def columns(self, start: int, width: int) -> np.ndarray:
        return np.concatenate([part.columns(start, width) for part in self._parts])
