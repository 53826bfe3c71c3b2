"""D-TRAK: TRAK's kernel over gradients of the squared output instead of the loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dmin.attribution.gradient_rows import GradientRows
from dmin.attribution.methods.trak import mean_problem
from dmin.attribution.ridge_problem import RidgeProblem
from dmin.attribution.settings import relative_lambda

METHOD = {
    "inputs": "gradients",
    "summary": "TRAK on the squared norm of the output.",
    "score": "`psi_q (Psi^T Psi + lambda I)^-1 psi_i`, `psi` the mean over t of gradients of the squared output",
    "range": "no unit",
    "caches": ("output_norm", "output_norm"),
    "options": ("relative_lambda",),
    "kernel": True,
}


def scores(queries: GradientRows, train: GradientRows, settings: Mapping[str, Any]) -> np.ndarray:
    """Return ``psi_q (Psi^T Psi + lambda I)^-1 psi_i``, float32 ``[queries, train]``, without units.

    ``psi`` is the gradient of the denoiser's mean squared output, averaged over timesteps; both sides must come from
    the cache of the feature ``output_norm``.

    Raises:
        UserError: the two sides were cached under different settings, lambda is out of range, or the kernel singular.

    Source: D-TRAK, the mean over elements as in its code.
    """
    penalty = relative_lambda(settings)
    return mean_problem(queries, train).solve(penalty).astype(np.float32)


def facts(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the scores depend on, as it is recorded beside them."""
    return {"relative_lambda": relative_lambda(settings)}


def ridge(queries: GradientRows, train: GradientRows) -> RidgeProblem:
    """Return the kernel, from which the scores of any lambda follow; see :func:`mean_problem`."""
    return mean_problem(queries, train)
