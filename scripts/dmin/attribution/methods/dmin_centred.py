"""DMin on gradients without what all training samples share."""

from __future__ import annotations

import numpy as np

from dmin.attribution.gradient_rows import GradientRows, require_equal_settings
from dmin.attribution.vectors import unit_rows
from dmin.settings.runs import Options

METHOD = {
    "inputs": "gradients",
    "summary": "DMin without what all training gradients share.",
    "score": "sum over t of `cos(g_qt - m_t, g_it - m_t)`, `m_t` the mean of `g_it` over training samples",
    "range": "[-T, T]",
    "label": "DMin, centred",
    "look": ("#56B4E9", "P", "solid"),
    "caches": ("loss", "loss"),
}


def mean_training_gradient(train: GradientRows) -> np.ndarray:
    """Return the mean raw gradient of the training samples at every timestep, float32 ``[T, width]``.

    Samples without a gradient, such as those that were skipped, count for nothing.
    """
    total = np.zeros((train.norms.shape[1], train.width))
    for rows, block in train.blocks():
        block *= train.norms[rows, :, None]
        total += block.sum(0, dtype=np.float64)
    counts = np.maximum((train.norms != 0).sum(0), 1)
    return (total / counts[:, None]).astype(np.float32)


def _centred_units(block: np.ndarray, norms: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Return gradients without the mean at unit length, ``[n, T * width]``; zero where there is none.

    Args:
        block: unit gradients ``[n, T, width]`` of ``norms``.
    """
    block = block * norms[..., None] - mean
    block[norms == 0] = 0
    return unit_rows(block).reshape(len(block), -1)


def scores(queries: GradientRows, train: GradientRows, options: Options) -> np.ndarray:
    """Return ``sum_t cos(g_q,t - m_t, g_i,t - m_t)``, float32 ``[queries, train]`` in [-T, T]; nothing to set.

    ``g`` are raw gradients (sketched unit gradients times their norms), ``m_t`` their mean over the training samples,
    also taken from the queries. The cosine is taken in sketch space, because the exact norm of a centred gradient is
    in no cache. A sample whose gradient equals the mean, or that has none, scores 0 at that timestep.

    Raises:
        UserError: the two sides were cached under different settings.
    """
    require_equal_settings(queries, train)
    mean = mean_training_gradient(train)
    left = _centred_units(queries.all(), queries.norms, mean)
    out = np.empty((len(left), len(train.ids)), dtype=np.float32)
    for rows, block in train.blocks():
        out[:, rows] = left @ _centred_units(block, train.norms[rows], mean).T
    return out
