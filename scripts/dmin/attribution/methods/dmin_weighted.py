"""DMin with a weight for every timestep, learned from which subsets queries belong to."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp

from dmin.attribution.gradient_rows import GradientRows, require_equal_settings
from dmin.attribution.halves import split_halves
from dmin.runtime.errors import UserError
from dmin.settings.runs import Options

METHOD = {
    "inputs": "gradients",
    "summary": "DMin with a weight for each timestep, learned on half of the queries.",
    "score": "sum over t of `w_t <u_qt, u_it>`, `w_t` learned from the other half of the queries",
    "range": "[-T, T], up to the sketch's error",
    "label": "DMin, learned weights",
    "look": ("#56B4E9", "X", "dashdot"),
    "caches": ("loss", "loss"),
    "options": ("seed",),
    "learns": True,
}

log = logging.getLogger(__name__)

# Pulls the weights of standardised products towards 1; in the unit of the mean negative log-likelihood.
PENALTY = 0.01
# Below it no weight falls, so that some order remains where no timestep tells subsets apart.
FLOOR = 1e-3


def timestep_products(queries: GradientRows, train: GradientRows) -> np.ndarray:
    """Return ``<u_q,t, u_i,t>`` of every timestep, float32 ``[T, queries, train]``.

    Raises:
        UserError: the two sides were cached under different settings.
    """
    require_equal_settings(queries, train)
    left = queries.all()
    products = np.empty((left.shape[1], len(left), len(train.ids)), dtype=np.float32)
    for rows, block in train.blocks():
        for step in range(len(products)):
            products[step, :, rows] = left[:, step] @ block[:, step].T
    return products


def learn_weights(products: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Return the weights ``[T]``, positive and of mean 1, that best rank each query's own samples first.

    They minimise the mean over queries, and over their own samples i, of ``-log softmax_i`` of the weighted sum of
    the products, each timestep's divided by its standard deviation, plus a pull of these weights towards 1. Convex
    and bounded, so the answer depends on the data alone.

    Args:
        products: ``[T, queries, train]``.
        own: boolean ``[queries, train]``; queries without an own sample are left out.

    Raises:
        UserError: no query has an own sample, or the products are not finite.
    """
    asked = own.any(1)
    if not asked.any():
        raise UserError("dmin_weighted has no query whose subset is in the training set to learn from; leave it out.")
    if not np.isfinite(products).all():
        raise UserError("The products of the gradients are not finite; check the gradient cache's log.")
    values = products[:, asked].astype(np.float64)
    share = own[asked] / own[asked].sum(1, keepdims=True)
    spread = values.std((1, 2))
    spread[spread == 0] = 1.0
    values = (values - values.mean(2, keepdims=True)) / spread[:, None, None]
    target = (values * share).sum(2).mean(1)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        scores = np.tensordot(weights, values, 1)
        total = logsumexp(scores, axis=1, keepdims=True)
        expected = np.einsum("qn,tqn->t", np.exp(scores - total), values) / len(scores)
        pull = weights - 1
        return float(total.mean() - weights @ target + PENALTY * pull @ pull), expected - target + 2 * PENALTY * pull

    found = minimize(
        loss, np.ones(len(values)), jac=True, method="L-BFGS-B", bounds=[(FLOOR, None)] * len(values),
        options={"ftol": 1e-12, "gtol": 1e-8},
    )  # fmt: skip
    weights: np.ndarray = found.x / spread
    return weights * (len(weights) / weights.sum())


def scores(
    queries: GradientRows, train: GradientRows, options: Options, subsets: Mapping[str, str]
) -> tuple[np.ndarray, dict[str, Any]]:
    """Return ``sum_t w_t <u_q,t, u_i,t>``, float32 ``[queries, train]`` in ``[-T, T]``, and the weights.

    The weights of a query come from the other half of the queries, so none has seen the query that it scores. Halves
    come from ``options["seed"]`` and the ids.

    Raises:
        UserError: the two sides were cached under different settings, a half is empty, or a gradient is not finite.
    """
    products = timestep_products(queries, train)
    first = split_halves(queries.ids, subsets, options["seed"])
    own = np.array([subsets[query] for query in queries.ids])[:, None] == [subsets[sample] for sample in train.ids]
    values = np.empty(products.shape[1:], dtype=np.float32)
    learned = {}
    for name, half in (("first", first), ("second", ~first)):
        weights = learn_weights(products[:, ~half], own[~half])
        values[half] = np.tensordot(weights, products[:, half], 1)
        learned[name] = {"queries": [queries.ids[place] for place in np.flatnonzero(half)], "weights": weights.tolist()}
        shown = ", ".join(f"{step}: {w:.2f}" for step, w in zip(train.metadata["timesteps"], weights, strict=True))
        log.info("weights of the %s half of the queries, by timestep: %s", name, shown)
    return values, {"timestep_weights": learned}
