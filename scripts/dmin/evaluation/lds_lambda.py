"""The choice of lambda by the LDS on held-out sets."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from dmin.attribution.gradient_files import GradientSides
from dmin.evaluation.lambda_grid import LambdaGrid, best_lambda, solve_grid
from dmin.evaluation.lds import JudgingBank, lds_interval
from dmin.evaluation.ranks import spearman_rows
from dmin.runtime.atomic import write_csv
from dmin.runtime.errors import UserError
from dmin.runtime.meter import hardware_label
from dmin.runtime.seeds import derive_seed
from dmin.settings.runs import Options

log = logging.getLogger(__name__)

COLUMNS = [
    "method", "v", "relative_lambda", "choice", "lds", "low", "high", "queries", "subsets", "seeds", "hardware",
]  # fmt: skip


def halve_sets(count: int, seed: int) -> np.ndarray:
    """Say for each of ``count`` sets whether lambda is chosen on it, boolean ``[count]``; the others judge.

    Raises:
        UserError: a half has fewer than three sets.
    """
    order = np.random.default_rng(derive_seed(seed, "sets")).permutation(count)
    first: np.ndarray = np.isin(np.arange(count), order[: count // 2])
    if first.sum() < 3:
        raise UserError(f"{count} retrained sets cannot be halved to choose lambda; take at least 6.")
    return first


def choose_lambda(lds: Mapping[float, tuple[float, float]], default: float) -> dict[str, float]:
    """Return lambda as configured (``default``), as chosen on the choosing sets (``held_out``), and the ``oracle``'s.

    Args:
        lds: by lambda, the LDS on the choosing and on the judging sets; ``default`` among them.
    """
    held_out, oracle = (best_lambda({value: pair[half] for value, pair in lds.items()}) for half in (0, 1))
    return {"default": default, "held_out": held_out, "oracle": oracle}


def sweep_lds(method: str, sides: GradientSides, bank: JudgingBank, options: Options, out: Path) -> None:
    """Write the LDS of one kernel method at one width under three choices of lambda.

    ``held_out`` is the best on one half of the sets, ``oracle`` the best on the other half, ``default`` the configured
    value; all are measured on the other half, with their intervals. Values too small for the kernel's precision are
    left out; see :func:`solve_grid`.

    Raises:
        UserError: the method has no kernel, or the sets cannot be halved.
    """
    grid = LambdaGrid(method, options)
    queries, train = sides.read()
    judge = bank.judge(queries.ids, train.ids)
    target = judge.retrained.target
    first = halve_sets(target.shape[1], options["seed"])
    problem = grid.ridge(queries, train)
    lds: dict[float, tuple[float, float]] = {}
    judged: dict[float, np.ndarray] = {}
    for value, scores in solve_grid(problem, grid.values, grid.default):
        predicted = judge.predict(scores)
        judged[value] = predicted[:, ~first]
        on_first = float(spearman_rows(predicted[:, first], target[:, first]).mean())
        on_second = float(spearman_rows(judged[value], target[:, ~first]).mean())
        lds[value] = on_first, on_second
        log.info("lambda %g: LDS %.3f on the sets that choose, %.3f on those that judge", value, on_first, on_second)
    facts = [len(target), int((~first).sum()), judge.retrained.losses.shape[1], hardware_label()]
    rows = [
        [method, train.v, value, choice, *lds_interval(judged[value], target[:, ~first], bank.interval), *facts]
        for choice, value in choose_lambda(lds, grid.default).items()
    ]
    write_csv(pd.DataFrame(rows, columns=COLUMNS), out)
