"""What choosing lambda on held-out queries gives, beside the oracle's choice and the configured value."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dmin.attribution.gradient_files import GradientSides
from dmin.attribution.halves import split_halves
from dmin.attribution.ridge_problem import RidgeProblem
from dmin.attribution.sample_tables import SampleTables
from dmin.evaluation.lambda_grid import LambdaGrid, best_lambda, solve_grid
from dmin.runtime.atomic import write_csv
from dmin.runtime.errors import UserError
from dmin.runtime.meter import Meter
from dmin.settings.runs import Options

log = logging.getLogger(__name__)

COLUMNS = ["method", "v", "relative_lambda", "choice", "yardstick", "value", "queries"]

# How well scores [queries, train] do on each query, larger is better: yardstick name -> [queries].
Yardsticks = Callable[[np.ndarray], Mapping[str, np.ndarray]]


def detection_yardsticks(own: np.ndarray, ks: Sequence[int]) -> Yardsticks:
    """Return the detection rate at every k, ``DR@k``; ``own [queries, train]`` says what counts as found."""

    def judge(scores: np.ndarray) -> dict[str, np.ndarray]:
        order = np.argsort(-scores, axis=1, kind="stable")[:, : max(ks)]
        found = np.take_along_axis(own, order, axis=1)
        return {f"DR@{k}": found[:, :k].mean(1) for k in ks}

    return judge


def compare_choices(
    problem: RidgeProblem, grid: Sequence[float], default: float, first: np.ndarray, yardsticks: Yardsticks
) -> list[dict[str, Any]]:
    """Choose lambda from ``grid`` by every yardstick, and measure each choice on the second half of the queries.

    ``held_out`` is the best on the first half, ``oracle`` the best on the second, ``default`` is not chosen. Of equal
    values the largest lambda is taken. What the kernel's precision does not admit is left out: see :func:`solve_grid`.

    Args:
        first: boolean ``[queries]``, the half that choices are made on.

    Returns:
        Rows ``relative_lambda, choice, yardstick, value, queries``.

    Raises:
        UserError: the default, or every value of the grid, is too small for the kernel's precision.
    """
    judged = {value: yardsticks(scores) for value, scores in solve_grid(problem, list(grid), default)}
    usable = [value for value in judged if value in grid]
    if not usable:
        raise UserError(f"influence.options.lambda_grid ends at {max(grid)}, where the kernel is singular; raise it.")
    rows = []
    for name in judged[default]:
        held_out, oracle = (
            # Rounded, so that equal sums in another order stay equal.
            best_lambda({value: round(float(judged[value][name][half].mean()), 12) for value in usable})
            for half in (first, ~first)
        )
        for choice, value in (("held_out", held_out), ("oracle", oracle), ("default", default)):
            measured = judged[value][name][~first]
            rows.append(
                {
                    "relative_lambda": value,
                    "choice": choice,
                    "yardstick": name,
                    "value": float(measured.mean()),
                    "queries": len(measured),
                }
            )
    return rows


def sweep_lambda(
    method: str, sides: GradientSides, tables: SampleTables, options: Options, ks: Sequence[int], out: Path
) -> None:
    """Write the choices of lambda for one kernel method at one width, by the detection rate.

    Args:
        ks: lengths of the list at which the detection rate is taken.

    Raises:
        UserError: the method has no kernel, a file is torn, a half of the queries is empty, or lambda is refused.
    """
    grid = LambdaGrid(method, options)
    with Meter() as meter:
        queries, train = sides.read()
        subsets = tables.subsets()
        first = split_halves(queries.ids, subsets, options["seed"])
        own = np.array([subsets[query] for query in queries.ids])[:, None] == [subsets[name] for name in train.ids]
        problem = grid.ridge(queries, train)
        rows = compare_choices(problem, grid.values, grid.default, first, detection_yardsticks(own, ks))
    for row in rows:
        log.info("%(yardstick)s %(choice)s: lambda %(relative_lambda)g, %(value).3f", row)
    write_csv(pd.DataFrame([{"method": method, "v": train.v, **row} for row in rows], columns=COLUMNS), out)
    log.info("%d values of lambda in %.1f s", len(grid.values), meter.seconds)
