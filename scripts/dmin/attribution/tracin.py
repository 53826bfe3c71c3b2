"""Diffusion-TracIn: the training replayed at its checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dmin.attribution.checkpoints import Checkpoint, summed_products


def scores(checkpoints: Sequence[Checkpoint], settings: Mapping[str, Any]) -> np.ndarray:
    """Return ``sum_c w_c <q_c, g_i,c>``, float32 ``[queries, train]``, in loss units; larger is a proponent.

    Raises:
        UserError: see :func:`dmin.attribution.checkpoints.summed_products`.

    Source: Diffusion-TracIn.
    """
    return summed_products(checkpoints, normalise=False)
