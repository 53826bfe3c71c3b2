"""D-TRAK: TRAK's kernel over gradients of the squared output instead of the loss."""

from __future__ import annotations

from dmin.attribution.gradient_rows import GradientRows
from dmin.attribution.methods.trak import mean_problem
from dmin.attribution.ridge_problem import RidgeProblem

METHOD = {
    "inputs": "gradients",
    "summary": "D-TRAK: `trak` on the squared output instead of the loss.",
    "score": "`psi_q (Psi^T Psi + lambda I)^-1 psi_i`, `psi` the mean over t of gradients of the squared output",
    "range": "no unit",
    "label": "D-TRAK",
    "look": ("#7A5BB0", "s", "solid"),
    "caches": ("output_norm", "output_norm"),
    "linear": ("queries",),
    "options": ("relative_lambda",),
    "kernel": True,
}


def ridge(queries: GradientRows, train: GradientRows) -> RidgeProblem:
    """Return the kernel whose solution ``psi_q (Psi^T Psi + lambda I)^-1 psi_i`` the scores are; no units.

    ``psi`` is the gradient of the denoiser's mean squared output, averaged over timesteps; both sides must come from
    the cache ``output_norm``.

    Raises:
        UserError: the two sides were cached under different settings.

    Source: D-TRAK, the mean over elements as in its code.
    """
    return mean_problem(queries, train)
