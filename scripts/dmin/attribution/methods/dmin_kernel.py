"""DMin's inner products, decorrelated over the training samples by a ridge kernel."""

from __future__ import annotations

import numpy as np

from dmin.attribution.gradient_rows import GradientRows
from dmin.attribution.methods.dmin import dmin_scores
from dmin.attribution.ridge_problem import RidgeProblem

METHOD = {
    "inputs": "gradients",
    "summary": "DMin, decorrelated over the training samples by a ridge kernel.",
    "score": "`A (K + lambda I)^-1`: A the scores of `dmin`, K the same products between training samples",
    "range": "no unit",
    "label": "DMin, kernel",
    "look": ("#004B74", "p", "dashdot"),
    "caches": ("loss", "loss"),
    "linear": ("queries",),
    "options": ("relative_lambda",),
    "kernel": True,
}


def unit_kernel(train: GradientRows) -> np.ndarray:
    """Return ``sum_t <u_i,t, u_j,t>`` of the training samples, float32 ``[n, n]``, from pairs of blocks."""
    kernel = np.empty((len(train.ids), len(train.ids)), dtype=np.float32)
    for rows, left in train.blocks():
        flat = left.reshape(len(left), -1)
        for columns, right in train.blocks():
            if columns.start > rows.start:
                break
            product = flat @ right.reshape(len(right), -1).T
            kernel[rows, columns] = product
            kernel[columns, rows] = product.T
    return kernel


def unit_problem(queries: GradientRows, train: GradientRows) -> RidgeProblem:
    """Return the kernel over the concatenated unit gradients of every timestep, with the queries.

    Raises:
        UserError: the two sides were cached under different settings.
    """
    cross = dmin_scores(queries, train, normalise=True)
    return RidgeProblem(unit_kernel(train), cross)


def ridge(queries: GradientRows, train: GradientRows) -> RidgeProblem:
    """Return the kernel whose solution ``A (K + lambda I)^-1`` the scores are, without units.

    ``A`` are DMin's scores, ``K`` the same products between training samples: TRAK's kernel on the concatenation of a
    sample's unit gradients.

    Raises:
        UserError: the two sides were cached under different settings.
    """
    return unit_problem(queries, train)
