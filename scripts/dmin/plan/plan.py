"""The plan of a config: one table in the paper's accounting, one of what this workflow needs, and both as text."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from dmin.plan.estimate import PlannedRun, Rows, estimate_run
from dmin.plan.render import render_sizes, render_time
from dmin.runtime.atomic import write_csv
from dmin.runtime.errors import UserError

log = logging.getLogger(__name__)


def estimate_runs(runs: Sequence[PlannedRun], shipped: Path, measured: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the plan's two tables for ``runs``, as :func:`dmin.plan.estimate.estimate_run` describes them.

    Raises:
        UserError: there is no run, or a run cannot be estimated; it is named.
    """
    if not runs:
        raise UserError("The config has no runs to plan; add one under runs.")
    table: Rows = []
    costs: Rows = []
    for run in runs:
        try:
            rows, needs = estimate_run(run, shipped, measured)
        except UserError as error:
            raise UserError(f"runs.{run['run']} cannot be planned: {error}") from error
        table += rows
        costs += needs
        log.info(
            "run %s: %d attributed parameters, %d evaluations",
            run["run"],
            rows[0]["parameters"],
            rows[0]["evaluations"],
        )
    return pd.DataFrame(table), pd.DataFrame(costs)


def plan(runs: Sequence[PlannedRun], shipped: Path, measured: Path, table: Path, costs: Path) -> None:
    """Write the plan's two tables and print both to the console.

    Raises:
        UserError: there is no run, or a run cannot be estimated; it is named.
    """
    sizes, needs = estimate_runs(runs, shipped, measured)
    write_csv(sizes, table)
    write_csv(needs, costs)
    sys.stdout.write(f"\n{render_sizes(sizes, needs)}\n\n{render_time(needs)}\n\n")
    sys.stdout.flush()
