"""DMin on gradients in which all tensors weigh alike."""

from __future__ import annotations

import numpy as np

from dmin.attribution.gradient_rows import GradientRows
from dmin.attribution.methods.dmin import dmin_scores
from dmin.settings.runs import Options

METHOD = {
    "inputs": "gradients",
    "summary": "DMin with one factor per tensor before norm and sketch, measured on a few samples.",
    "score": "`dmin` on `s_l g_l`, `s_l = (r_l + f rbar)^(-1/2)`, `r_l` the mean squared element of tensor l",
    "range": "[-T, T], up to the sketch's error",
    "label": "DMin, scaled",
    "look": ("#D55E00", "o", "solid"),
    "caches": ("loss_scaled", "loss_scaled"),
    "linear": ("queries", "train"),
    "terms": "unit",
}


def scores(queries: GradientRows, train: GradientRows, options: Options) -> np.ndarray:
    """Return the scores, float32 ``[queries, train]`` in [-T, T] up to the sketch's error; there is nothing to set.

    DMin's cosine is that of the few tensors with the largest gradients, this one that of all.

    Raises:
        UserError: the two sides were cached under different settings, scales among them.

    Source: DMin; the factors are ours.
    """
    return dmin_scores(queries, train, normalise=True)
