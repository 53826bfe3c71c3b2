"""The ridge kernel of ``dtrak_unit`` over gradients in which all tensors weigh alike."""

from __future__ import annotations

from dmin.attribution.gradient_rows import GradientRows
from dmin.attribution.methods.dmin_kernel import unit_problem
from dmin.attribution.ridge_problem import RidgeProblem

METHOD = {
    "inputs": "gradients",
    "summary": "`dtrak_unit` on gradients in which all tensors weigh alike.",
    "score": "`dtrak_unit` on the gradients of `dmin_scaled`",
    "range": "no unit",
    "label": "D-TRAK, unit, scaled",
    "look": ("#7A5BB0", "X", "solid"),
    "caches": ("output_norm_scaled", "output_norm_scaled"),
    "linear": ("queries",),
    "options": ("relative_lambda",),
    "kernel": True,
}


def ridge(queries: GradientRows, train: GradientRows) -> RidgeProblem:
    """Return the kernel of ``dtrak_unit`` on the cache ``output_norm_scaled``; no units. Ours, see ``dmin_scaled``.

    Raises:
        UserError: the two sides were cached under different settings, scales among them.
    """
    return unit_problem(queries, train)
