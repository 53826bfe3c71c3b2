"""The plan of a config: one table in the paper's accounting, one of what this workflow needs, and both as text."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from dmin.plan.estimate import PlannedRun, Rows, estimate_run
from dmin.plan.games import PlannedGame, estimate_game, render_games
from dmin.plan.render import render_sizes, render_text_parts, render_time
from dmin.runtime.atomic import write_csv
from dmin.runtime.errors import UserError

# Numbers that may not be known.
UNKNOWN = (
    "parameters",
    "uncompressed_bytes_per_sample",
    "bytes_per_sample",
    "total_bytes",
    "text_parameters",
    "uncompressed_total_bytes",
    "cache_bytes",
)

log = logging.getLogger(__name__)


def estimate_runs(runs: Sequence[PlannedRun], shipped: Path, measured: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the plan's two tables for ``runs``, as :func:`dmin.plan.estimate.estimate_run` describes them.

    Raises:
        UserError: there is no run, or a run cannot be estimated; it is named.
    """
    if not runs:
        raise UserError("The config has no runs to plan; add one under runs, or a game under games.")
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
            "run %s: %s attributed parameters, %d evaluations",
            run["run"],
            "unknown" if rows[0]["parameters"] is None else rows[0]["parameters"],
            rows[0]["evaluations"],
        )
    return _frame(table), _frame(costs)


def _frame(rows: Rows) -> pd.DataFrame:
    """Return rows as a table in which a number that is not known leaves the others of its column whole."""
    frame = pd.DataFrame(rows)
    return frame.astype({name: "Int64" for name in UNKNOWN if name in frame})


def estimate_games(games: Sequence[PlannedGame], shipped: Path) -> pd.DataFrame:
    """Return the plan's table of games, as :func:`dmin.plan.games.estimate_game` describes it.

    Raises:
        UserError: a game cannot be estimated; it is named.
    """
    table: Rows = []
    for game in games:
        try:
            table += estimate_game(game, shipped)
        except UserError as error:
            raise UserError(f"games.{game['game']} cannot be planned: {error}") from error
    return pd.DataFrame(table)


@dataclass(frozen=True)
class PlanFiles:
    """The plan's tables: the sizes of runs, their costs, and those of games."""

    table: Path
    costs: Path
    games: Path


def plan(
    runs: Sequence[PlannedRun], games: Sequence[PlannedGame], shipped: Path, measured: Path, files: PlanFiles
) -> None:
    """Write the plan's tables and print them to the console.

    Raises:
        UserError: there is neither a run nor a game, or one cannot be estimated; it is named.
    """
    # Games need no run.
    sizes, needs = estimate_runs(runs, shipped, measured) if runs or not games else (pd.DataFrame(), pd.DataFrame())
    played = estimate_games(games, shipped)
    write_csv(sizes, files.table)
    write_csv(needs, files.costs)
    write_csv(played, files.games)
    texts = [render_sizes(sizes, needs), render_time(needs), render_text_parts(needs)] if runs else []
    texts += [render_games(played)] if games else []
    sys.stdout.write("\n" + "\n\n".join(filter(None, texts)) + "\n\n")
    sys.stdout.flush()
