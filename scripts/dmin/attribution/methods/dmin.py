"""DMin: inner products of compressed unit gradients, summed over timesteps."""

from __future__ import annotations

import numpy as np

from dmin.attribution.gradient_rows import GradientRows, require_equal_settings
from dmin.settings.runs import Options

METHOD = {
    "inputs": "gradients",
    "summary": "DMin: compressed unit gradients, compared timestep by timestep.",
    "score": "sum over t of `<u_qt, u_it>`",
    "range": "[-T, T], up to the sketch's error",
    "label": "DMin",
    "look": ("#0072B2", "o", "solid"),
    "caches": ("loss", "loss"),
    "linear": ("queries", "train"),
    "terms": "unit",
}


def scores(queries: GradientRows, train: GradientRows, options: Options) -> np.ndarray:
    """Return DMin's scores, float32 ``[queries, train]``; there is nothing to set.

    Raises:
        UserError: the two sides were cached under different settings.

    Source: DMin.
    """
    return dmin_scores(queries, train, normalise=True)


def dmin_scores(queries: GradientRows, train: GradientRows, normalise: bool) -> np.ndarray:
    """Score every training sample for every query; larger is more influential.

    With ``normalise``, the score is ``sum_t <g_q,t / |g_q,t|, g_i,t / |g_i,t|>``, in ``[-T, T]`` up to the sketch's
    error; without, ``sum_t <g_q,t, g_i,t>`` in squared gradient units (the paper's ablation).

    Returns:
        float32 ``[queries, train]``.

    Raises:
        UserError: the two sides were cached under different settings.
    """
    require_equal_settings(queries, train)
    if normalise:
        return unit_products(queries, train)
    left = queries.all()
    scores = np.empty((len(left), len(train.ids)), dtype=np.float32)
    left = (left * queries.norms[:, :, None]).reshape(len(left), -1)
    for rows, block in train.blocks():
        block *= train.norms[rows, :, None]
        scores[:, rows] = left @ block.reshape(len(block), -1).T
    return scores


def unit_products(queries: GradientRows, train: GradientRows) -> np.ndarray:
    """Return ``sum_t <u_q,t, u_i,t>`` of the unit gradients as they are stored, float32 ``[queries, train]``."""
    left = queries.all()
    found = np.empty((len(left), len(train.ids)), dtype=np.float32)
    for rows, products in train.products(left.reshape(len(left), -1)):
        found[:, rows] = products
    return found
