"""DMin tensor by tensor, with a weight for each that makes the best scores of a query stand out."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from scipy.optimize import minimize

from dmin.attribution.gradient_rows import GradientRows, require_equal_settings
from dmin.runtime.errors import UserError
from dmin.settings.runs import Options

METHOD = {
    "inputs": "gradients",
    "summary": "DMin with a weight for each parameter tensor, learned without labels.",
    "score": "sum over tensors l of `w_l` times the sum over t of `<u_qtl, u_itl>`; w makes the top scores stand out",
    "range": "standard deviations of a tensor's scores",
    "label": "DMin, weighted tensors",
    "look": ("#56B4E9", "d", "solid"),
    "caches": ("loss_blocks", "loss_blocks"),
    "options": ("weighted_top",),
}

log = logging.getLogger(__name__)

# Pulls the weights of standardised scores towards 1; in the unit of the objective, which is at most 1.
PENALTY = 1e-3


def scores(queries: GradientRows, train: GradientRows, options: Options) -> tuple[np.ndarray, dict[str, Any]]:
    """Return ``sum_l w_l s_l``, float32 ``[queries, train]``, and the weights; no subset is looked at.

    ``s_l`` is the part of DMin's score that tensor l has, over its standard deviation, so that weights compare. With
    all ``w_l`` equal to these deviations the score is DMin's.

    Raises:
        UserError: the caches were not made per tensor or under different settings, or a gradient is not finite.

    Source: Parameter weighting (Li et al., ICLR 2026, arXiv 2506.05647), the objective; tensors are its groups here,
    and each stands for itself.
    """
    names, parts = tensor_scores(queries, train)
    weights = learn_weights(parts, options["weighted_top"])
    for place in np.argsort(-weights)[:5]:
        log.info("weight of %s: %.2f", names[place], weights[place])
    values = np.tensordot(weights, parts, 1).astype(np.float32)
    return values, {"tensor_weights": dict(zip(names, weights.tolist(), strict=True))}


def tensor_scores(queries: GradientRows, train: GradientRows) -> tuple[list[str], np.ndarray]:
    """Return the tensors that tell samples apart, and their parts of DMin's score ``[tensors, queries, train]``.

    Each part is float32 of standard deviation 1.

    Raises:
        UserError: as :func:`scores`, or no tensor tells samples apart.
    """
    require_equal_settings(queries, train)
    if "blocks" not in train.metadata:
        raise UserError("The gradient cache holds no sketch per tensor; score this method from the cache loss_blocks.")
    left, blocks = queries.all(), train.metadata["blocks"]
    parts = np.empty((len(blocks), len(left), len(train.ids)), dtype=np.float32)
    for rows, right in train.blocks():
        for part, (_, start, width, _) in zip(parts, blocks, strict=True):
            cells = slice(start, start + width)
            sides = (side[..., cells].reshape(len(side), -1) for side in (left, right))
            part[:, rows] = np.matmul(next(sides), next(sides).T)
    if not np.isfinite(parts).all():
        raise UserError("The gradients are not finite; check the gradient cache's log.")
    spread = parts.std((1, 2))
    kept = spread > 0
    if not kept.any():
        raise UserError("All training samples score alike on every tensor; check the gradient cache's log.")
    names = [block[0] for block, taken in zip(blocks, kept, strict=True) if taken]
    return names, parts[kept] / spread[kept, None, None]


def learn_weights(parts: np.ndarray, share: float) -> np.ndarray:
    """Return the weights ``[tensors]``, at least 0 and of mean 1, under which the best scores of a query stand out.

    They maximise the mean over queries of the mean of a query's best ``share`` of scores over the root of its mean
    squared score, less a pull towards equal weights, by L-BFGS from there. The data alone decides.

    Args:
        parts: ``[tensors, queries, train]``.
    """
    values = parts.astype(np.float64)
    count, top = len(values), max(1, round(share * values.shape[2]))

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        summed = np.tensordot(weights, values, 1)
        best = np.argpartition(-summed, top - 1, axis=1)[:, :top]
        mean = np.take_along_axis(summed, best, 1).mean(1)
        length = np.sqrt(np.mean(summed**2, axis=1))
        tops = np.take_along_axis(values, np.broadcast_to(best, (count, *best.shape)), 2).mean(2)
        lengths = np.einsum("lqn,qn->lq", values, summed) / (summed.shape[1] * length)
        slope = (tops / length - lengths * mean / length**2).mean(1)
        pull = weights - 1
        return float(-(mean / length).mean() + PENALTY * pull @ pull), -slope + 2 * PENALTY * pull

    found = minimize(loss, np.ones(count), jac=True, method="L-BFGS-B", bounds=[(0, None)] * count)
    weights: np.ndarray = found.x * (count / found.x.sum())
    return weights
