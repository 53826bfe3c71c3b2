"""DMin: inner products of compressed unit gradients, summed over timesteps."""

from __future__ import annotations

import numpy as np

from dmin.attribution.gradient_rows import GradientRows
from dmin.gradients.shard import require_equal_metadata


def dmin_scores(queries: GradientRows, train: GradientRows, normalise: bool) -> np.ndarray:
    """Score every training sample for every query; larger is more influential.

    With ``normalise``, the score is ``sum_t <g_q,t / |g_q,t|, g_i,t / |g_i,t|>``, in ``[-T, T]`` up to the sketch's
    error; without, ``sum_t <g_q,t, g_i,t>`` in squared gradient units (the paper's ablation).

    Returns:
        float32 ``[queries, train]``.

    Raises:
        UserError: the two sides were cached under different settings.
    """
    require_equal_metadata(
        {**queries.metadata, "width": queries.width},
        {**train.metadata, "width": train.width},
        "query gradients",
        "training gradients",
    )
    left = queries.all()
    if not normalise:
        left *= queries.norms[:, :, None]
    left = left.reshape(len(left), -1)
    scores = np.empty((len(left), len(train.ids)), dtype=np.float32)
    for rows, block in train.blocks():
        if not normalise:
            block *= train.norms[rows, :, None]
        scores[:, rows] = left @ block.reshape(len(block), -1).T
    return scores
