"""D-TRAK's feature under DMin's normalisation: a ridge kernel over unit gradients of every timestep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dmin.attribution.dmin_kernel import unit_problem
from dmin.attribution.gradient_rows import GradientRows
from dmin.attribution.settings import relative_lambda


def scores(queries: GradientRows, train: GradientRows, settings: Mapping[str, Any]) -> np.ndarray:
    """Return ``A (K + lambda I)^-1``, float32 ``[queries, train]``, of unit gradients of the mean squared output.

    What ``dmin_kernel`` does with the loss, on the cache of the feature ``output_norm``; ours, in no paper.

    Raises:
        UserError: the two sides were cached under different settings, lambda is out of range, or the kernel singular.
    """
    penalty = relative_lambda(settings)
    return unit_problem(queries, train).solve(penalty).astype(np.float32)
