"""Diffusion-TracIn: the training replayed at its checkpoints."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dmin.attribution.checkpoints import Checkpoint, summed_products

METHOD = {
    "inputs": "checkpoints",
    "summary": "Diffusion-TracIn: the training replayed at its checkpoints.",
    "score": "sum over checkpoints c of `r_i w_c <q_c, g_ic>`, `r_i` how often an epoch sees the sample",
    "range": "loss units",
    "label": "TracIn",
    "look": ("#009E73", "s", "solid"),
}


def scores(checkpoints: Sequence[Checkpoint]) -> np.ndarray:
    """Return ``sum_c w_c <q_c, g_i,c>``, float32 ``[queries, train]``, in loss units; larger is a proponent.

    Raises:
        UserError: see :func:`dmin.attribution.checkpoints.summed_products`.

    Source: TracIn, for diffusion models as in the Diffusion-ReTrac paper.
    """
    return summed_products(checkpoints, normalise=False)
