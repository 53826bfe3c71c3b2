"""Diffusion-ReTrac with the final weights as the only checkpoint."""

from __future__ import annotations

from typing import Any

import numpy as np

from dmin.attribution.final_checkpoint import timestep_facts, timestep_weights
from dmin.attribution.gradient_rows import GradientRows, require_equal_settings
from dmin.attribution.mean_gradients import weighted_gradients
from dmin.attribution.vectors import products
from dmin.settings.runs import Options

METHOD = {
    "inputs": "gradients",
    "summary": "Diffusion-ReTrac with the final weights as the only checkpoint.",
    "score": "`<mean over t of u_qt, u_i>` at the timestep that i was trained with",
    "range": "[-1, 1], up to the sketch's error",
    "label": "ReTrac, final model",
    "look": ("#00614A", "^", "dashed"),
    "caches": ("loss", "loss"),
    "linear": ("queries",),
    "options": ("train_timestep", "seed"),
}


def scores(queries: GradientRows, train: GradientRows, options: Options) -> np.ndarray:
    """Return ``<mean_t g_q,t / |g_q,t|, g_i / |g_i|>``, float32 ``[queries, train]`` in [-1, 1] up to the sketch.

    ``g_i`` is the gradient at the timestep that the sample was trained with: see :func:`timestep_weights`. With
    ``train_timestep: mean`` every timestep of the query meets every timestep of the sample, where DMin pairs equal
    ones.

    Raises:
        UserError: the two sides were cached under different settings, or ``train_timestep`` is unknown.

    Source: Diffusion-ReTrac; one noise per timestep instead of its 16.
    """
    require_equal_settings(queries, train)
    steps = train.shape[1]
    mean = np.full(queries.shape, 1 / steps, dtype=np.float32)
    trained = weighted_gradients(train, timestep_weights(train.ids, steps, options))
    return products(weighted_gradients(queries, mean), trained).astype(np.float32)


def facts(options: Options) -> dict[str, Any]:
    """Return what the scores depend on, as it is recorded beside them."""
    return timestep_facts(options)
