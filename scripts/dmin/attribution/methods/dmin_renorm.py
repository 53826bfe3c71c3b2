"""DMin with the sketches scaled back to unit length."""

from __future__ import annotations

import numpy as np

from dmin.attribution.gradient_rows import GradientRows, require_equal_settings
from dmin.attribution.vectors import unit_rows
from dmin.settings.runs import Options

METHOD = {
    "inputs": "gradients",
    "summary": "DMin with every sketch scaled back to unit length.",
    "score": "sum over t of `cos(C u_qt, C u_it)`",
    "range": "[-T, T]",
    "label": "DMin, renormalised",
    "look": ("#3A7CA5", "v", "dashed"),
    "caches": ("loss", "loss"),
}


def scores(queries: GradientRows, train: GradientRows, options: Options) -> np.ndarray:
    """Return ``sum_t cos(C u_q,t, C u_i,t)``, float32 ``[queries, train]`` in [-T, T]; nothing to set.

    The sketch of a unit vector has a length off 1 by about ``sqrt(1 / 2v)``. Taken out, the error of an estimated
    cosine rho falls from ``sqrt((1 + rho^2) / v)`` to ``(1 - rho^2) / sqrt(v)``: most for nearly parallel gradients,
    such as those of high noise where all samples share it.

    Raises:
        UserError: the two sides were cached under different settings.
    """
    require_equal_settings(queries, train)
    left = unit_rows(queries.all()).reshape(len(queries.ids), -1)
    out = np.empty((len(left), len(train.ids)), dtype=np.float32)
    for rows, block in train.blocks():
        out[:, rows] = left @ unit_rows(block).reshape(len(block), -1).T
    return out
