"""Renormalised influence: TRAK's score over the length of the sample's gradient."""

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
    "summary": "TRAK over the length of the sample's gradient.",
    "score": "`trak` over the length of `phi_i`",
    "range": "inverse gradient units",
    "caches": ("loss", "loss"),
    "options": ("relative_lambda",),
}


def scores(queries: GradientRows, train: GradientRows, settings: Mapping[str, Any]) -> np.ndarray:
    """Return TRAK's score divided by ``|phi_i|``, float32 ``[queries, train]``.

    In inverse gradient units; settings and errors are TRAK's.

    Source: Renormalised Influence, in the form of the D-TRAK comparison.
    """
    fit = fit_trak(queries, train, settings)
    return divide(fit.scores, fit.lengths).astype(np.float32)


def facts(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the scores depend on, as it is recorded beside them."""
    return {"relative_lambda": relative_lambda(settings)}
