"""The ridge kernel of ``dmin_kernel`` over gradients in which all tensors weigh alike."""

from __future__ import annotations

from dmin.attribution.gradient_rows import GradientRows
from dmin.attribution.methods.dmin_kernel import unit_problem
from dmin.attribution.ridge_problem import RidgeProblem

METHOD = {
    "inputs": "gradients",
    "summary": "`dmin_kernel` on gradients in which all tensors weigh alike.",
    "score": "`dmin_kernel` on the gradients of `dmin_scaled`",
    "range": "no unit",
    "label": "DMin, kernel, scaled",
    "look": ("#004B74", "h", "solid"),
    "caches": ("loss_scaled", "loss_scaled"),
    "linear": ("queries",),
    "options": ("relative_lambda",),
    "kernel": True,
}


def ridge(queries: GradientRows, train: GradientRows) -> RidgeProblem:
    """Return the kernel of ``dmin_kernel`` on the cache ``loss_scaled``; no units. Ours, see ``dmin_scaled``.

    Raises:
        UserError: the two sides were cached under different settings, scales among them.
    """
    return unit_problem(queries, train)
