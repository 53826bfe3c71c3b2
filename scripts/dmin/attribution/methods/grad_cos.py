"""Cosines of gradients averaged over timesteps."""

from __future__ import annotations

import numpy as np

from dmin.attribution.gradient_rows import GradientRows, require_equal_settings
from dmin.attribution.mean_gradients import mean_gradients
from dmin.attribution.vectors import products, unit_rows
from dmin.settings.runs import Options

METHOD = {
    "inputs": "gradients",
    "summary": "`grad_dot` between unit vectors.",
    "score": "`cos(phi_q, phi_i)`",
    "range": "[-1, 1]",
    "label": "Gradient cosine",
    "look": ("#CC79A7", "o", "solid"),
    "caches": ("loss", "loss"),
}


def scores(queries: GradientRows, train: GradientRows, options: Options) -> np.ndarray:
    """Return ``cos(mean_t g_q,t, mean_t g_i,t)`` of raw gradients, float32 ``[queries, train]``; nothing to set.

    In [-1, 1]. The lengths are those in sketch space, because the exact norm of a mean gradient is in no cache.

    Raises:
        UserError: the two sides were cached under different settings.
    """
    require_equal_settings(queries, train)
    return products(unit_rows(mean_gradients(queries)), unit_rows(mean_gradients(train))).astype(np.float32)
