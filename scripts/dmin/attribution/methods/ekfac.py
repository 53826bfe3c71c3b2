"""EK-FAC influence for a cache of the training samples as it is: the inverse curvature is applied to the queries."""

from __future__ import annotations

import numpy as np

from dmin.attribution.gradient_rows import GradientRows, require_equal_settings
from dmin.attribution.methods.dmin import unit_products
from dmin.settings.runs import Options

METHOD = {
    "inputs": "gradients",
    "summary": "EK-FAC influence: DMin's cache of the training samples, the inverse curvature on the queries' side.",
    "score": "sum over t of `<C(h_qt) / |h_qt|, u_it>`, `h = (Q diag(m) Q^T + d mbar I)^-1 g`, Q of Kronecker factors",
    "range": "[-T, T], up to the sketch's error",
    "label": "EK-FAC",
    "look": ("#8C3A00", "s", "dashdot"),
    "caches": ("loss", "loss_ekfac"),
    "linear": ("queries", "train"),
    "terms": "unit",
}

# What the two sides differ in by design.
_OWN = ("cache", "curvature")


def scores(queries: GradientRows, train: GradientRows, options: Options) -> np.ndarray:
    """Return the scores, float32 ``[queries, train]`` in [-T, T] up to the sketch's error; there is nothing to set.

    ``<H^-1 g_q, g_i>`` is the influence function where ``H`` is the curvature; here with unit vectors on both sides, as
    DMin has them, so that the lengths of gradients count for nothing.

    Raises:
        UserError: the two sides were cached under settings that differ in more than the curvature.

    Source: EK-FAC, and K-FAC influence of diffusion models; sketches and unit vectors are DMin's.
    """
    require_equal_settings(queries, train, _OWN)
    return unit_products(queries, train)
