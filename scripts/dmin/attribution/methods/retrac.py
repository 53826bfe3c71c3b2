"""Diffusion-ReTrac: Diffusion-TracIn on unit gradients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dmin.attribution.checkpoints import Checkpoint, summed_products

METHOD = {
    "inputs": "checkpoints",
    "summary": "Diffusion-ReTrac: `tracin` on unit gradients.",
    "score": "sum over checkpoints c of `r_i w_c <q_c, u_ic>`, `q_c` the mean of unit gradients, `r_i` as for `tracin`",
    "range": "[-r_i sum w_c, r_i sum w_c], up to the sketch's error",
    "label": "ReTrac",
    "look": ("#00614A", "o", "solid"),
}


def scores(checkpoints: Sequence[Checkpoint]) -> np.ndarray:
    """Return ``sum_c w_c <q_c, g_i,c / |g_i,c|>``, float32 ``[queries, train]``; larger is a proponent.

    The query's gradient at a timestep is normalised after its noises are averaged and before timesteps are, so that
    ``|q_c| <= 1``, and every term lies in ``[-w_c, w_c]`` up to the sketch's error.

    Raises:
        UserError: see :func:`dmin.attribution.checkpoints.summed_products`.

    Source: Diffusion-ReTrac.
    """
    return summed_products(checkpoints, normalise=True)
