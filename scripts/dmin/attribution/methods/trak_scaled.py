"""The ridge kernel of ``trak`` over gradients in which all tensors weigh alike."""

from __future__ import annotations

from dmin.attribution.gradient_rows import GradientRows
from dmin.attribution.methods.trak import mean_problem
from dmin.attribution.ridge_problem import RidgeProblem

METHOD = {
    "inputs": "gradients",
    "summary": "`trak` on gradients in which all tensors weigh alike.",
    "score": "`trak` on the gradients of `dmin_scaled`",
    "range": "no unit",
    "label": "TRAK, scaled",
    "look": ("#8F4470", "8", "dashed"),
    "caches": ("loss_scaled", "loss_scaled"),
    "linear": ("queries",),
    "options": ("relative_lambda",),
    "kernel": True,
}


def ridge(queries: GradientRows, train: GradientRows) -> RidgeProblem:
    """Return the kernel of ``trak`` on the cache ``loss_scaled``; no units. Ours, see ``dmin_scaled``.

    Raises:
        UserError: the two sides were cached under different settings, scales among them.
    """
    return mean_problem(queries, train)
