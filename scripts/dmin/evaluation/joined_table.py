"""Parts of a table, joined."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from dmin.runtime.atomic import write_csv
from dmin.runtime.readers import read_csv


def join_tables(parts: Sequence[Path], out: Path) -> None:
    """Write the rows of all parts, in order; every value keeps its text."""
    write_csv(pd.concat([read_csv(part, dtype=str, keep_default_na=False) for part in parts]), out)


def join_runs(runs: Sequence[str], parts: Sequence[Path], out: Path) -> None:
    """Write the rows of the table of each run, in order, with the run's name in a first column ``run``.

    Tables with other columns than those before them leave the rest empty; every value keeps its text.
    """
    tables = [read_csv(part, dtype=str, keep_default_na=False) for part in parts]
    for run, table in zip(runs, tables, strict=True):
        table.insert(0, "run", run)
    write_csv(pd.concat(tables).fillna(""), out)
