"""Relative influence: TRAK's score over the length of the sample's preconditioned gradient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dmin.attribution.gradient_rows import GradientRows
from dmin.attribution.methods.trak import fit_trak
from dmin.attribution.settings import relative_lambda
from dmin.attribution.vectors import divide

METHOD = {
    "inputs": "gradients",
    "summary": "TRAK over the length of the sample's preconditioned gradient.",
    "score": "`trak` over the length of `(Phi^T Phi + lambda I)^-1 phi_i`",
    "range": "gradient units",
    "caches": ("loss", "loss"),
    "options": ("relative_lambda",),
}


def scores(queries: GradientRows, train: GradientRows, settings: Mapping[str, Any]) -> np.ndarray:
    """Return TRAK's score divided by ``|(Phi^T Phi + lambda I)^-1 phi_i|``, float32 ``[queries, train]``.

    In gradient units; settings and errors are TRAK's.

    Source: Relative Influence, in the form of the D-TRAK comparison.
    """
    fit = fit_trak(queries, train, settings)
    return divide(fit.scores, fit.solution_lengths).astype(np.float32)


def facts(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the scores depend on, as it is recorded beside them."""
    return {"relative_lambda": relative_lambda(settings)}
