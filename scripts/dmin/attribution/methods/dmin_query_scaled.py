"""Scaled DMin for a cache of the training samples that has no scale: the factors are applied to the queries, twice."""

from __future__ import annotations

import numpy as np

from dmin.attribution.gradient_rows import GradientRows, require_equal_settings
from dmin.attribution.methods.dmin import unit_products
from dmin.settings.runs import Options

METHOD = {
    "inputs": "gradients",
    "summary": "DMin's cache of the training samples, with both factors of `dmin_scaled` on the queries' side.",
    "score": "sum over t of `<C(s^2 g_qt) / |s^2 g_qt|, u_it>`",
    "range": "[-T, T], up to the sketch's error",
    "label": "DMin, scaled queries",
    "look": ("#E69F00", "o", "dashed"),
    "caches": ("loss", "loss_query_scaled"),
    "linear": ("queries", "train"),
    "terms": "unit",
}

# What the two sides differ in by design.
_OWN = ("cache", "scale")


def scores(queries: GradientRows, train: GradientRows, options: Options) -> np.ndarray:
    """Return the scores, float32 ``[queries, train]`` in [-T, T] up to the sketch's error; there is nothing to set.

    ``<s g_q, s g_i> = <s^2 g_q, g_i>``, and a sketch keeps inner products; only the norms are other ones. Ours.

    Raises:
        UserError: the two sides were cached under settings that differ in more than the scale.
    """
    require_equal_settings(queries, train, _OWN)
    return unit_products(queries, train)
