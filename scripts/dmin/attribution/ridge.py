"""Ridge kernels over the training samples: one eigendecomposition serves every penalty and every query."""

from __future__ import annotations

import numpy as np

from dmin.attribution.settings import check_relative_lambda
from dmin.runtime.errors import UserError


class RidgeKernel:
    """The kernel ``K = Phi Phi^T`` of the vectors ``Phi [n, d]`` of training samples, decomposed once in float64.

    Penalties are relative: ``lambda = relative_lambda * trace(K) / n``, so that they do not depend on the vectors'
    unit or width.

    Args:
        kernel: symmetric ``[n, n]``; its dtype says how exact it is.

    Raises:
        UserError: it is zero or not finite.

    Source: TRAK and D-TRAK; the dual form ``(Phi^T Phi + lambda I)^-1 Phi^T = Phi^T (K + lambda I)^-1``.
    """

    def __init__(self, kernel: np.ndarray) -> None:
        if not np.isfinite(kernel).all():
            raise UserError("The kernel of the training gradients is not finite; check the gradient cache's log.")
        self.scale = float(np.trace(kernel, dtype=np.float64)) / len(kernel)
        if self.scale <= 0:
            raise UserError("The kernel of the training gradients is zero; check that the model was trained.")
        self._precision = float(np.finfo(kernel.dtype).eps)
        values, self._vectors = np.linalg.eigh(kernel.astype(np.float64))
        # What the decomposition's rounding makes of zero would count in lengths at a small penalty.
        values[values < len(values) * np.finfo(np.float64).eps * values[-1]] = 0
        self._values = values

    def penalty(self, relative_lambda: float) -> float:
        """Return the absolute lambda.

        Raises:
            UserError: the relative one is not positive and finite, or too small for the kernel's precision.
        """
        value = check_relative_lambda(relative_lambda) * self.scale
        if self._values[0] + value <= self._precision * self._values[-1]:
            raise UserError(
                f"The kernel of the training gradients is singular at relative_lambda {relative_lambda!r}; raise it."
            )
        return value

    def solve(self, cross: np.ndarray, relative_lambda: float) -> np.ndarray:
        """Return ``A (K + lambda I)^-1``, float64 ``[m, n]``, of ``A = Phi_q Phi^T [m, n]``.

        It equals ``Phi_q (Phi^T Phi + lambda I)^-1 Phi^T``.

        Raises:
            UserError: see :meth:`penalty`.
        """
        shifted = self._values + self.penalty(relative_lambda)
        return (cross.astype(np.float64) @ self._vectors / shifted) @ self._vectors.T

    def leverages(self, relative_lambda: float) -> np.ndarray:
        """Return ``h_ii = phi_i (Phi^T Phi + lambda I)^-1 phi_i``, ``[n]`` in [0, 1): a sample's share of its own fit.

        Raises:
            UserError: see :meth:`penalty`.
        """
        return self._vectors**2 @ (self._values / (self._values + self.penalty(relative_lambda)))

    def solution_norms(self, relative_lambda: float) -> np.ndarray:
        """Return the lengths ``[n]`` of ``(Phi^T Phi + lambda I)^-1 phi_i``, in the space of the vectors.

        Raises:
            UserError: see :meth:`penalty`.
        """
        shifted = self._values + self.penalty(relative_lambda)
        return np.sqrt(self._vectors**2 @ (self._values / shifted**2))
