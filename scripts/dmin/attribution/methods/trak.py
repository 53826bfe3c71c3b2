"""TRAK on the diffusion loss: a ridge kernel over gradients averaged over timesteps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dmin.attribution.gradient_rows import GradientRows, require_equal_settings
from dmin.attribution.mean_gradients import mean_gradients
from dmin.attribution.ridge_problem import RidgeProblem
from dmin.attribution.settings import relative_lambda
from dmin.attribution.vectors import products
from dmin.settings.runs import Options

METHOD = {
    "inputs": "gradients",
    "summary": "TRAK: gradients decorrelated over the training samples by a ridge kernel.",
    "score": "`phi_q (Phi^T Phi + lambda I)^-1 phi_i`",
    "range": "no unit",
    "label": "TRAK",
    "look": ("#8F4470", "o", "solid"),
    "caches": ("loss", "loss"),
    "linear": ("queries",),
    "options": ("relative_lambda",),
    "kernel": True,
}


@dataclass(frozen=True)
class TrakFit:
    """What TRAK and the methods built on it share.

    Attributes:
        scores: TRAK's scores, float64 ``[queries, train]``.
        lengths: ``|phi_i|``, ``[train]``.
        solution_lengths: ``|(Phi^T Phi + lambda I)^-1 phi_i|``, ``[train]``.
    """

    scores: np.ndarray
    lengths: np.ndarray
    solution_lengths: np.ndarray


def mean_problem(queries: GradientRows, train: GradientRows) -> RidgeProblem:
    """Return the kernel over raw gradients averaged over timesteps, in sketch space, with the queries.

    Raises:
        UserError: the two sides were cached under different settings.
    """
    require_equal_settings(queries, train)
    phi = mean_gradients(train)
    return RidgeProblem(products(phi, phi), products(mean_gradients(queries), phi))


def fit_trak(queries: GradientRows, train: GradientRows, options: Options) -> TrakFit:
    """Fit the kernel ``(Phi^T Phi + lambda I)^-1`` on the training samples and score them for every query.

    ``phi`` is the raw gradient averaged over timesteps, in sketch space. The dual form is solved in float64.

    Raises:
        UserError: the two sides were cached under different settings, lambda is out of range, or the kernel singular.
    """
    penalty = relative_lambda(options)
    problem = mean_problem(queries, train)
    return TrakFit(problem.solve(penalty), problem.lengths, problem.kernel.solution_norms(penalty))


def ridge(queries: GradientRows, train: GradientRows) -> RidgeProblem:
    """Return the kernel whose solution ``phi_q (Phi^T Phi + lambda I)^-1 phi_i`` the scores are; no units.

    ``phi`` is the raw gradient averaged over timesteps. No sample is weighted by its loss.

    Raises:
        UserError: the two sides were cached under different settings.

    Source: TRAK; for diffusion models, the form of the D-TRAK comparison.
    """
    return mean_problem(queries, train)
