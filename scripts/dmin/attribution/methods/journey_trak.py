"""Journey-TRAK: the query's loss along its own sampling trajectory, under TRAK's kernel."""

from __future__ import annotations

import numpy as np

from dmin.attribution.gradient_rows import GradientRows, require_equal_settings
from dmin.attribution.mean_gradients import mean_gradients
from dmin.attribution.ridge_problem import RidgeProblem
from dmin.attribution.vectors import products

METHOD = {
    "inputs": "gradients",
    "summary": "Journey-TRAK: `trak` at every step of the query's own sampling.",
    "score": "sum over sampling steps s of `phi_qs (Phi^T Phi + lambda I)^-1 phi_i`",
    "range": "no unit",
    "label": "Journey TRAK",
    "look": ("#7A5BB0", "P", "dotted"),
    "caches": ("loss", "journey"),
    "options": ("relative_lambda",),
    "kernel": True,
}

# In what the queries' gradients, taken along a trajectory, differ from those of the training samples.
OWN = ("cache", "draws", "objective", "timesteps", "noise")


def step_problem(queries: GradientRows, train: GradientRows) -> RidgeProblem:
    """Return TRAK's kernel on the training samples with the queries of every step, ``m = steps * queries``.

    Raises:
        UserError: the two sides are of different models, parameters or sketches.
    """
    require_equal_settings(queries, train, OWN)
    phi = mean_gradients(train)
    cross = np.empty((queries.norms.shape[1], len(queries.ids), len(train.ids)))
    for rows, block in queries.blocks():
        raw = block * queries.norms[rows, :, None]
        for step in range(len(cross)):
            cross[step, rows] = products(raw[:, step], phi)
    return RidgeProblem(products(phi, phi), cross.reshape(-1, cross.shape[-1]))


def step_scores(problem: RidgeProblem, queries: GradientRows, penalty: float) -> np.ndarray:
    """Return the scores of each sampling step, float64 ``[steps, queries, train]``."""
    solved = problem.solve(penalty)
    return solved.reshape(queries.norms.shape[1], len(queries.ids), -1)


def ridge(queries: GradientRows, train: GradientRows) -> RidgeProblem:
    """Return the kernel whose solution ``sum_s phi_q,s (Phi^T Phi + lambda I)^-1 phi_i`` the scores are; no units.

    ``phi_q,s`` is the gradient of the loss at the clean latents that sampling predicted at step s, taken as data,
    averaged over fresh noises; ``phi_i`` is TRAK's. The sum is that over the scores of the steps.

    Raises:
        UserError: the two sides are of different models, parameters or sketches.

    Source: Journey-TRAK; the sum over steps is that of the D-TRAK comparison.
    """
    require_equal_settings(queries, train, OWN)
    phi = mean_gradients(train)
    summed = mean_gradients(queries) * queries.norms.shape[1]
    return RidgeProblem(products(phi, phi), products(summed, phi))
