"""What choosing lambda on held-out queries gives, beside the oracle's choice and the configured value."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dmin.attribution.gradient_files import GradientSides
from dmin.attribution.halves import split_halves
from dmin.attribution.ranking import rank_top
from dmin.attribution.ridge_problem import RidgeProblem
from dmin.attribution.sample_tables import SampleTables
from dmin.evaluation.lambda_grid import LambdaGrid, best_lambda, solve_grid
from dmin.runtime.atomic import write_csv, write_parquet
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


def judge_grid(
    problem: RidgeProblem, grid: Sequence[float], default: float, yardsticks: Yardsticks
) -> dict[float, Mapping[str, np.ndarray]]:
    """Return what every yardstick says of each query, by lambda; the default is among them.

    What the kernel's precision does not admit is left out: see :func:`solve_grid`.

    Raises:
        UserError: the default, or every value of the grid, is too small for the kernel's precision.
    """
    judged = {value: yardsticks(scores) for value, scores in solve_grid(problem, list(grid), default)}
    if not judged.keys() & set(grid):
        raise UserError(f"influence.options.lambda_grid ends at {max(grid)}, where the kernel is singular; raise it.")
    return judged


def compare_choices(
    judged: Mapping[float, Mapping[str, np.ndarray]], grid: Sequence[float], default: float, first: np.ndarray
) -> list[dict[str, Any]]:
    """Choose lambda from ``grid`` by every yardstick, and measure each choice on the second half of the queries.

    ``held_out`` is the best on the first half, ``oracle`` the best on the second, ``default`` is not chosen. Of equal
    values the largest lambda is taken.

    Args:
        judged: see :func:`judge_grid`.
        first: boolean ``[queries]``, the half that choices are made on.

    Returns:
        Rows ``relative_lambda, choice, yardstick, value, queries``.
    """
    usable = [value for value in judged if value in grid]
    rows = []
    for name in judged[default]:
        held_out, oracle = (
            best_lambda({value: _rounded_mean(judged[value][name][half]) for value in usable})
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


def crossed_choices(
    judged: Mapping[float, Mapping[str, np.ndarray]], grid: Sequence[float], first: np.ndarray
) -> tuple[float, float]:
    """Return the lambda that is best on the second half of the queries, for the first, and that for the second.

    Best is by the mean of all yardsticks; so no query has a say in its own lambda. Arguments as of
    :func:`compare_choices`.
    """
    means = {value: np.mean(list(judged[value].values()), axis=0) for value in judged if value in grid}
    on_first, on_second = (
        best_lambda({value: _rounded_mean(each[half]) for value, each in means.items()}) for half in (first, ~first)
    )
    return on_second, on_first


@dataclass(frozen=True)
class SweepFiles:
    """Where a sweep writes: the ``table`` of choices, and the ranked lists at the lambda chosen on other queries."""

    table: Path
    top: Path


def sweep_lambda(
    method: str, sides: GradientSides, tables: SampleTables, options: Options, ks: Sequence[int], files: SweepFiles
) -> None:
    """Write what choices of lambda by the detection rate give one kernel method at one width.

    The ranked lists are those of each half of the queries at the lambda chosen on the other half; see
    :func:`crossed_choices`.

    Args:
        ks: lengths of the list at which the detection rate is taken; the ranked lists are as long as the largest.

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
        judged = judge_grid(problem, grid.values, grid.default, detection_yardsticks(own, ks))
        rows = compare_choices(judged, grid.values, grid.default, first)
        chosen = crossed_choices(judged, grid.values, first)
        scores = np.where(first[:, None], *(problem.solve(value) for value in chosen)).astype(np.float32)
    for row in rows:
        log.info("%(yardstick)s %(choice)s: lambda %(relative_lambda)g, %(value).3f", row)
    write_parquet(rank_top(scores, queries.ids, train.ids, subsets, max(ks)), files.top)
    write_csv(pd.DataFrame([{"method": method, "v": train.v, **row} for row in rows], columns=COLUMNS), files.table)
    log.info(
        "%d values of lambda in %.1f s; lambda %g for one half, %g for the other",
        len(grid.values),
        meter.seconds,
        *chosen,
    )


def _rounded_mean(values: np.ndarray) -> float:
    # So that equal sums in another order stay equal.
    return round(float(values.mean()), 12)
