"""A ridge kernel with the queries that are scored by it, for every penalty at once."""

from __future__ import annotations

import numpy as np

from dmin.attribution.ridge import RidgeKernel


class RidgeProblem:
    """The kernel of the training samples, decomposed once, and their products with the queries.

    Args:
        gram: ``K = Phi Phi^T [n, n]``.
        cross: ``A = Phi_q Phi^T [m, n]``.

    Raises:
        UserError: the kernel is zero or not finite.
    """

    def __init__(self, gram: np.ndarray, cross: np.ndarray) -> None:
        self.kernel = RidgeKernel(gram)
        self.lengths: np.ndarray = np.sqrt(np.diagonal(gram))
        self._cross = cross

    def solve(self, relative_lambda: float) -> np.ndarray:
        """Return ``A (K + lambda I)^-1``, float64 ``[m, n]``; lambda is ``relative_lambda`` times ``trace(K) / n``.

        Raises:
            UserError: lambda is out of range or too small for the kernel's precision.
        """
        return self.kernel.solve(self._cross, relative_lambda)
