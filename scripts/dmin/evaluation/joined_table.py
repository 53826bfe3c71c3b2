"""Parts of a table, joined."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from dmin.data.atomic import write_csv


def join_tables(parts: Sequence[Path], out: Path) -> None:
    """Write the rows of all parts, in order; every value keeps its text."""
    write_csv(pd.concat([pd.read_csv(part, dtype=str, keep_default_na=False) for part in parts]), out)
