"""One vector per sample: a weighted sum of its gradients over timesteps."""

from __future__ import annotations

import numpy as np

from dmin.attribution.gradient_rows import GradientRows


def weighted_gradients(rows: GradientRows, weights: np.ndarray) -> np.ndarray:
    """Return ``sum_t w_it u_it`` of the unit gradients ``u``, read in blocks.

    Args:
        weights: ``[N, T]``.

    Returns:
        float32 ``[N, width]``.
    """
    sums = np.empty((len(rows.ids), rows.width), dtype=np.float32)
    for part, block in rows.blocks():
        sums[part] = (weights[part, None, :].astype(np.float32) @ block)[:, 0]
    return sums


def mean_gradients(rows: GradientRows) -> np.ndarray:
    """Return the gradients averaged over timesteps, float32 ``[N, width]``, in gradient units."""
    return weighted_gradients(rows, rows.norms / rows.norms.shape[1])
