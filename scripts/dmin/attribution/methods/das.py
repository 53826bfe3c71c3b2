"""DAS: how far the output moves for a query when a sample is left out, by the residual and leverage of that sample."""

from __future__ import annotations

import numpy as np

from dmin.attribution.gradient_rows import GradientRows
from dmin.attribution.methods.trak import mean_problem
from dmin.attribution.settings import relative_lambda
from dmin.settings.runs import Options

METHOD = {
    "inputs": "gradients",
    "summary": "DAS: the squared change of the output without the sample, by its error and its leverage.",
    "score": "`(f_q (F^T F + lambda I)^-1 f_i r_i / (1 - h_ii))^2`, `f` the mean over t of the mean output's gradients",
    "range": "no unit, at least 0: it tells how much, not in which direction",
    "label": "DAS",
    "look": ("#5A3E9B", "h", "solid"),
    "caches": ("output_mean", "output_mean"),
    "options": ("relative_lambda",),
}


def scores(queries: GradientRows, train: GradientRows, options: Options) -> np.ndarray:
    """Return ``(f_q (F^T F + lambda I)^-1 f_i r_i / (1 - h_ii))^2``, float32 ``[queries, train]``, without units.

    ``f`` is the gradient of the denoiser's mean output, averaged over timesteps; ``r_i`` the root of the sample's mean
    squared error, averaged over timesteps; ``h_ii = f_i (F^T F + lambda I)^-1 f_i`` its leverage. For a linear model
    the square's root is what the output loses when a least-squares fit leaves the sample out, exactly.

    Raises:
        UserError: the two sides were cached under different settings or hold no errors, lambda is out of range, or the
            kernel singular.

    Source: DAS (Lin et al., ICLR 2025, arXiv 2410.18639), gradients averaged over timesteps as in its code. That code
    divides the errors of a sample by their length over timesteps first, which we do not, since samples then differ by
    the profile of their errors alone.
    """
    problem, penalty = mean_problem(queries, train), relative_lambda(options)
    change = train.errors.mean(1) / (1 - problem.kernel.leverages(penalty))
    return np.square(problem.solve(penalty) * change).astype(np.float32)
