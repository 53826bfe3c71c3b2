"""DataInf: influence with the order of inverse and average swapped, tensor by tensor."""

from __future__ import annotations

import numpy as np

from dmin.attribution.blocks import TensorProducts, tensor_products
from dmin.attribution.gradient_rows import GradientRows
from dmin.settings.runs import Options

METHOD = {
    "inputs": "gradients",
    "summary": "DataInf: the influence function, in closed form by swapping inverse and average.",
    "score": "sum over tensors l of `(A - C K / n) / lambda_l`, with `C = A / (lambda_l + diag K)`",
    "range": "no unit",
    "label": "DataInf",
    "look": ("#8C3A00", "o", "solid"),
    "caches": ("loss_blocks", "loss_blocks"),
    "options": ("damping",),
}


def scores(queries: GradientRows, train: GradientRows, options: Options) -> np.ndarray:
    """Return DataInf's scores, float32 ``[queries, train]``, without units; larger is a proponent.

    Per tensor, ``(1/n sum_j g_j g_j^T + lambda I)^-1`` becomes the mean of ``(g_j g_j^T + lambda I)^-1``, which is
    closed: with ``A = V G^T``, ``K = G G^T`` and ``C = A / (lambda + diag K)`` the score is ``(A - C K / n) / lambda``,
    summed over tensors. The gradients of a sample's timesteps are concatenated.

    Raises:
        UserError: see :func:`dmin.attribution.blocks.tensor_products`.

    Source: DataInf, equation 5 and its choice of lambda; the published code returns the negative.
    """
    total = np.zeros((len(queries.ids), len(train.ids)))
    for part in tensor_products(queries, train, options):
        total += mean_of_inverses(part)
    return total.astype(np.float32)


def mean_of_inverses(part: TensorProducts) -> np.ndarray:
    """Return ``(A - C K / n) / lambda`` of one tensor, float64 ``[queries, train]``."""
    weights = part.cross / (part.penalty + np.diagonal(part.kernel))
    return (part.cross - weights @ part.kernel / len(part.kernel)) / part.penalty
