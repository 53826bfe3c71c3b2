"""LiSSA with Gauss-Newton products: the queries' answers against the training gradients."""

from __future__ import annotations

import numpy as np

from dmin.attribution.gradient_rows import GradientRows, require_equal_settings
from dmin.attribution.mean_gradients import mean_gradients
from dmin.attribution.vectors import products
from dmin.settings.runs import Options

METHOD = {
    "inputs": "gradients",
    "summary": "LiSSA: the influence function, solved by a recursion for each query.",
    "score": "`<h_q, phi_i>`, `h_q` solves `(G + lambda I) h = phi_q`, G the Gauss-Newton matrix of the loss",
    "range": "no unit",
    "label": "LiSSA",
    "look": ("#8C3A00", "^", "dashed"),
    "caches": ("loss", "lissa"),
    "one_shape": True,
}

# In what the answers differ from the gradients of the training samples.
OWN = ("cache", "timesteps", "precision", "lissa")


def scores(queries: GradientRows, train: GradientRows, options: Options) -> np.ndarray:
    """Return ``<h_q, phi_i>``, float32 ``[queries, train]``, without units; larger is a proponent.

    ``h_q`` solves ``(G + lambda I) h = phi_q`` with the Gauss-Newton matrix ``G`` of the training loss, by LiSSA's
    recursion in the full space of parameters; ``phi`` is the gradient averaged over timesteps.

    Raises:
        UserError: the two sides are of different models, parameters or sketches.

    Source: LiSSA.
    """
    require_equal_settings(queries, train, OWN)
    return products(mean_gradients(queries), mean_gradients(train)).astype(np.float32)
