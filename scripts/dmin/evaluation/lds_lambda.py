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
from dmin.data.atomic import write_csv
from dmin.errors import UserError
from dmin.evaluation.lds import Retrained, predict_sets, spearman_rows
from dmin.retraining.sets import read_sets
from dmin.seeds import derive_seed

log = logging.getLogger(__name__)

COLUMNS = ["method", "v", "relative_lambda", "choice", "lds", "sets", "queries"]


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


def choose_lambda(
    lds: Mapping[float, tuple[float, float]], default: float, sets: int, queries: int
) -> list[dict[str, Any]]:
    """Return the LDS on the judging sets of lambda as configured, as chosen on the other sets, and of the oracle.

    Args:
        lds: by lambda, the LDS on the choosing and on the judging sets; ``default`` among them.
    """
    held_out = max(lds, key=lambda value: (lds[value][0], value))
    oracle = max(lds, key=lambda value: (lds[value][1], value))
    choices = {"default": default, "held_out": held_out, "oracle": oracle}
    return [
        {"relative_lambda": value, "choice": choice, "lds": lds[value][1], "sets": sets, "queries": queries}
        for choice, value in choices.items()
    ]


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
    out: Path,
) -> None:
    """Write the LDS of one kernel method at one width under three choices of lambda.

    ``held_out`` is the best on one half of the sets, ``oracle`` the best on the other half, ``default`` the configured
    value; all are measured on the other half. Values too small for the kernel's precision are left out and logged.

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
    for value in sorted({*grid, default}):
        try:
            predicted = predict_sets(problem.solve(value)[order], member)
        except UserError as error:
            if value == default:
                raise
            log.warning("left out of the grid: %s", error)
            continue
        on_first, on_second = (
            float(spearman_rows(predicted[:, half], found.target[:, half]).mean()) for half in (first, ~first)
        )
        lds[value] = on_first, on_second
        log.info("lambda %g: LDS %.3f on the sets that choose, %.3f on those that judge", value, on_first, on_second)
    rows = choose_lambda(lds, default, int((~first).sum()), len(found.queries))
    write_csv(pd.DataFrame([{"method": method, "v": v, **row} for row in rows], columns=COLUMNS), out)
