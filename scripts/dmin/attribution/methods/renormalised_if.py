"""Renormalised influence: TRAK's score over the length of the sample's gradient."""

from __future__ import annotations

import numpy as np

from dmin.attribution.gradient_rows import GradientRows
from dmin.attribution.methods.trak import fit_trak
from dmin.attribution.vectors import divide
from dmin.settings.runs import Options

METHOD = {
    "inputs": "gradients",
    "summary": "Renormalised Influence: `trak` over the length of the sample's gradient.",
    "score": "`trak` over the length of `phi_i`",
    "range": "inverse gradient units",
    "label": "Renormalised IF",
    "look": ("#8F4470", "^", "dashdot"),
    "caches": ("loss", "loss"),
    "linear": ("queries",),
    "options": ("relative_lambda",),
}


def scores(queries: GradientRows, train: GradientRows, options: Options) -> np.ndarray:
    """Return TRAK's score divided by ``|phi_i|``, float32 ``[queries, train]``.

    In inverse gradient units; options and errors are TRAK's.

    Source: Renormalised Influence, in the form of the D-TRAK comparison.
    """
    fit = fit_trak(queries, train, options)
    return divide(fit.scores, fit.lengths).astype(np.float32)
