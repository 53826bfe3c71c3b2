"""A choice of lambda from a grid: solved once for every value, chosen on one half and measured on the other."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

import numpy as np

from dmin.attribution.registry import find_method
from dmin.attribution.ridge_problem import RidgeProblem
from dmin.attribution.settings import lambda_grid, relative_lambda
from dmin.runtime.errors import UserError
from dmin.settings.runs import Options

log = logging.getLogger(__name__)


class LambdaGrid:
    """The values of lambda that a kernel method is solved for: the configured one and those to choose from.

    Raises:
        UserError: the method has no kernel, or a value is out of range.
    """

    def __init__(self, method: str, options: Options) -> None:
        ridge = find_method(method).ridge
        if ridge is None:
            raise UserError(f"Method {method} has no kernel, so no lambda to choose.")
        self.ridge = ridge
        self.default = relative_lambda(options)
        self.values = lambda_grid(options)


def solve_grid(problem: RidgeProblem, values: list[float], default: float) -> Iterator[tuple[float, np.ndarray]]:
    """Yield lambda and the scores ``[queries, train]``, from the smallest; ``default`` is among them.

    Values too small for the kernel's precision are left out and logged.

    Raises:
        UserError: the default is too small.
    """
    for value in sorted({*values, default}):
        try:
            scores = problem.solve(value)
        except UserError as error:
            if value == default:
                raise
            log.warning("left out of the grid: %s", error)
        else:
            yield value, scores


def best_lambda(values: Mapping[float, float]) -> float:
    """Return the lambda of the largest value; of equal ones, the largest lambda."""
    return max(values, key=lambda relative: (values[relative], relative))
