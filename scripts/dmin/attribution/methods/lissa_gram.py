"""LiSSA with the empirical Fisher matrix per tensor, run on inner products alone."""

from __future__ import annotations

import numpy as np
from scipy.sparse.linalg import eigsh

from dmin.attribution.blocks import TensorProducts, tensor_products
from dmin.attribution.gradient_rows import GradientRows
from dmin.attribution.settings import lissa_alpha
from dmin.runtime.errors import UserError
from dmin.settings.runs import Options

METHOD = {
    "inputs": "gradients",
    "summary": "LiSSA's recursion on the Gram matrix of each tensor's gradients.",
    "score": "sum over tensors l of `<alpha r_J, g_il>`, a truncated Neumann series",
    "range": "no unit",
    "label": "LiSSA, Gram",
    "look": ("#8C3A00", "D", "dashdot"),
    "caches": ("loss_blocks", "loss_blocks"),
    "options": ("damping", "lissa_iterations", "lissa_alpha"),
}


def scores(queries: GradientRows, train: GradientRows, options: Options) -> np.ndarray:
    """Return the scores of a truncated Neumann series, float32 ``[queries, train]``, without units.

    Per tensor, with ``H = G^T G / n + lambda I`` and ``r_0 = v``, the recursion ``r_j+1 = v + (I - alpha H) r_j``
    tends to ``H^-1 v / alpha``; the score is ``<alpha r_J, g_i>``, summed over tensors. All ``r_j`` are combinations
    ``a_j v + G^T w_j``, so only ``A = V G^T`` and ``K = G G^T`` are needed. ``lissa_alpha: auto`` is
    ``1 / (largest eigenvalue of H)`` and always converges.

    Raises:
        UserError: ``lissa_alpha`` makes the recursion diverge on a tensor, a setting is out of range, or see
            :func:`dmin.attribution.blocks.tensor_products`.

    Source: LiSSA as DataInf's code runs it, with its sign of the damping corrected.
    """
    iterations, step = options["lissa_iterations"], lissa_alpha(options)
    total = np.zeros((len(queries.ids), len(train.ids)))
    for part in tensor_products(queries, train, options):
        total += neumann_series(part, iterations, _step_size(part, step))
    return total.astype(np.float32)


def neumann_series(part: TensorProducts, iterations: int, alpha: float) -> np.ndarray:
    """Return ``<alpha r_J, g_i>`` of one tensor, float64 ``[queries, train]``."""
    shrink = 1 - alpha * part.penalty
    scale, weights = 1.0, np.zeros_like(part.cross)
    for _ in range(iterations):
        reached = scale * part.cross + weights @ part.kernel
        weights = shrink * weights - alpha / len(part.kernel) * reached
        scale = 1 + shrink * scale
    return alpha * (scale * part.cross + weights @ part.kernel)


def _step_size(part: TensorProducts, alpha: float | None) -> float:
    count = len(part.kernel)
    if count > 2:
        largest = float(eigsh(part.kernel, k=1, v0=np.ones(count), return_eigenvectors=False)[0]) / count
    else:
        largest = float(np.linalg.eigvalsh(part.kernel)[-1]) / count
    most = largest + part.penalty
    if alpha is None:
        return 1 / most
    if alpha * most >= 2:
        raise UserError(
            f"lissa_alpha {alpha:g} makes lissa_gram diverge on tensor '{part.name}'; set it below {2 / most:.3g} or "
            "to auto."
        )
    return alpha
