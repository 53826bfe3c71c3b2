"""DMin without normalisation, the paper's ablation."""

from __future__ import annotations

import numpy as np

from dmin.attribution.gradient_rows import GradientRows
from dmin.attribution.methods.dmin import dmin_scores
from dmin.settings.runs import Options

METHOD = {
    "inputs": "gradients",
    "summary": "DMin's ablation: gradients keep their lengths.",
    "score": "sum over t of `<g_qt, g_it>`",
    "range": "squared gradient units; large-gradient samples and timesteps dominate",
    "label": "DMin, no normalisation",
    "look": ("#D55E00", "s", "dashed"),
    "caches": ("loss", "loss"),
    "linear": ("queries", "train"),
    "terms": "raw",
}


def scores(queries: GradientRows, train: GradientRows, options: Options) -> np.ndarray:
    """Return ``sum_t <g_q,t, g_i,t>``, float32 ``[queries, train]`` in squared gradient units; nothing to set.

    Raises:
        UserError: the two sides were cached under different settings.

    Source: DMin, its ablation.
    """
    return dmin_scores(queries, train, normalise=False)
