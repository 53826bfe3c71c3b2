"""Inner products of gradients averaged over timesteps."""

from __future__ import annotations

import numpy as np

from dmin.attribution.gradient_rows import GradientRows, require_equal_settings
from dmin.attribution.mean_gradients import mean_gradients
from dmin.attribution.vectors import products
from dmin.settings.runs import Options

METHOD = {
    "inputs": "gradients",
    "summary": "First-order influence of gradients averaged over timesteps.",
    "score": "`<phi_q, phi_i>`",
    "range": "squared gradient units",
    "label": "Gradient dot product",
    "look": ("#CC79A7", "s", "dashed"),
    "caches": ("loss", "loss"),
    "linear": ("queries", "train"),
}


def scores(queries: GradientRows, train: GradientRows, options: Options) -> np.ndarray:
    """Return ``<mean_t g_q,t, mean_t g_i,t>`` of raw gradients, float32 ``[queries, train]``; nothing to set.

    Raises:
        UserError: the two sides were cached under different settings.
    """
    require_equal_settings(queries, train)
    return products(mean_gradients(queries), mean_gradients(train)).astype(np.float32)
