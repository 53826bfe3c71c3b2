"""D-TRAK's feature under DMin's normalisation: a ridge kernel over unit gradients of every timestep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dmin.attribution.gradient_rows import GradientRows
from dmin.attribution.methods.dmin_kernel import unit_problem
from dmin.attribution.ridge_problem import RidgeProblem
from dmin.attribution.settings import relative_lambda

METHOD = {
    "inputs": "gradients",
    "summary": "D-TRAK on unit gradients.",
    "score": "`dmin_kernel` on unit gradients of the squared output",
    "range": "no unit",
    "caches": ("output_norm", "output_norm"),
    "options": ("relative_lambda",),
    "kernel": True,
}


def scores(queries: GradientRows, train: GradientRows, settings: Mapping[str, Any]) -> np.ndarray:
    """Return ``A (K + lambda I)^-1``, float32 ``[queries, train]``, of unit gradients of the mean squared output.

    What ``dmin_kernel`` does with the loss, on the cache of the feature ``output_norm``; ours, in no paper.

    Raises:
        UserError: the two sides were cached under different settings, lambda is out of range, or the kernel singular.
    """
    penalty = relative_lambda(settings)
    return unit_problem(queries, train).solve(penalty).astype(np.float32)


def facts(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the scores depend on, as it is recorded beside them."""
    return {"relative_lambda": relative_lambda(settings)}


def ridge(queries: GradientRows, train: GradientRows) -> RidgeProblem:
    """Return the kernel, from which the scores of any lambda follow; see :func:`unit_problem`."""
    return unit_problem(queries, train)
