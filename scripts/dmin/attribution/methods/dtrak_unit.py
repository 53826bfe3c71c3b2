"""D-TRAK's gradients under DMin's normalisation: a ridge kernel over unit gradients of every timestep."""

from __future__ import annotations

from dmin.attribution.gradient_rows import GradientRows
from dmin.attribution.methods.dmin_kernel import unit_problem
from dmin.attribution.ridge_problem import RidgeProblem

METHOD = {
    "inputs": "gradients",
    "summary": "D-TRAK's gradients under DMin's normalisation.",
    "score": "`dmin_kernel` on unit gradients of the squared output",
    "range": "no unit",
    "label": "D-TRAK, unit gradients",
    "look": ("#7A5BB0", "D", "dashed"),
    "caches": ("output_norm", "output_norm"),
    "linear": ("queries",),
    "options": ("relative_lambda",),
    "kernel": True,
}


def ridge(queries: GradientRows, train: GradientRows) -> RidgeProblem:
    """Return the kernel whose solution ``A (K + lambda I)^-1`` the scores are, of the mean squared output; no units.

    What ``dmin_kernel`` does with the loss, on the cache ``output_norm``; ours, in no paper.

    Raises:
        UserError: the two sides were cached under different settings.
    """
    return unit_problem(queries, train)
