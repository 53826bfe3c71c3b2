"""The choice of lambda by the LDS on held-out sets."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dmin.attribution.gradient_rows import GradientRows
from dmin.attribution.registry import find_method
from dmin.attribution.settings import lambda_grid, method_seed, relative_lambda
from dmin.evaluation.lds import Retrained, lds_interval, predict_sets, spearman_rows
from dmin.retraining.sets import read_sets
from dmin.runtime.atomic import write_csv
from dmin.runtime.errors import UserError
from dmin.runtime.meter import hardware_label
from dmin.runtime.seeds import derive_seed

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
    held_out = max(lds, key=lambda value: (lds[value][0], value))
    oracle = max(lds, key=lambda value: (lds[value][1], value))
    return {"default": default, "held_out": held_out, "oracle": oracle}


def sweep_lds(
    method: str,
    v: str,
    train_shards: Sequence[Path],
    query_shards: Sequence[Path],
    train_sketch: Path | None,
    query_sketch: Path | None,
    losses: Sequence[Path],
    sets: Sequence[Path],
    settings: Mapping[str, Any],
    judging: Mapping[str, Any],
    out: Path,
) -> None:
    """Write the LDS of one kernel method at one width under three choices of lambda.

    ``held_out`` is the best on one half of the sets, ``oracle`` the best on the other half, ``default`` the configured
    value; all are measured on the other half, with their intervals. Values too small for the kernel's precision are
    left out and logged.

    Args:
        settings: the options of the method.
        judging: ``bootstrap, confidence, seed``.

    Raises:
        UserError: the method has no kernel, or the sets cannot be halved.
    """
    ridge = find_method(method).ridge
    if ridge is None:
        raise UserError(f"Method {method} has no kernel, so no lambda to choose.")
    default, grid = relative_lambda(settings), lambda_grid(settings)
    train, queries = GradientRows(train_shards, train_sketch), GradientRows(query_shards, query_sketch)
    found = Retrained.read(losses)
    member = read_sets(sets, train.ids)[found.sets]
    order = [list(queries.ids).index(name) for name in found.queries]
    first = halve_sets(len(found.sets), method_seed(settings))
    problem = ridge(queries, train)
    lds: dict[float, tuple[float, float]] = {}
    judged: dict[float, np.ndarray] = {}
    for value in sorted({*grid, default}):
        try:
            predicted = predict_sets(problem.solve(value)[order], member)
        except UserError as error:
            if value == default:
                raise
            log.warning("left out of the grid: %s", error)
            continue
        judged[value] = predicted[:, ~first]
        on_first = float(spearman_rows(predicted[:, first], found.target[:, first]).mean())
        on_second = float(spearman_rows(judged[value], found.target[:, ~first]).mean())
        lds[value] = on_first, on_second
        log.info("lambda %g: LDS %.3f on the sets that choose, %.3f on those that judge", value, on_first, on_second)
    facts = [len(found.queries), int((~first).sum()), found.losses.shape[1], hardware_label()]
    rows = [
        [method, v, value, choice, *lds_interval(judged[value], found.target[:, ~first], judging), *facts]
        for choice, value in choose_lambda(lds, default).items()
    ]
    write_csv(pd.DataFrame(rows, columns=COLUMNS), out)
