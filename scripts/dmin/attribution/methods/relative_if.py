"""Relative influence: TRAK's score over the length of the sample's preconditioned gradient."""

from __future__ import annotations

import numpy as np

from dmin.attribution.gradient_rows import GradientRows
from dmin.attribution.methods.trak import fit_trak
from dmin.attribution.vectors import divide
from dmin.settings.runs import Options

METHOD = {
    "inputs": "gradients",
    "summary": "Relative Influence: `trak` over the sample's effect on the whole model.",
    "score": "`trak` over the length of `(Phi^T Phi + lambda I)^-1 phi_i`",
    "range": "gradient units",
    "label": "Relative IF",
    "look": ("#8F4470", "v", "dashed"),
    "caches": ("loss", "loss"),
    "linear": ("queries",),
    "options": ("relative_lambda",),
}


def scores(queries: GradientRows, train: GradientRows, options: Options) -> np.ndarray:
    """Return TRAK's score divided by ``|(Phi^T Phi + lambda I)^-1 phi_i|``, float32 ``[queries, train]``.

    In gradient units; options and errors are TRAK's.

    Source: Relative Influence, in the form of the D-TRAK comparison.
    """
    fit = fit_trak(queries, train, options)
    return divide(fit.scores, fit.solution_lengths).astype(np.float32)
