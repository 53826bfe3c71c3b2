"""The tables of a config, as the Snakefile opens them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from checkout import PROJECT

from dmin.workflow.tables import Tables, open_tables


def load(config: Mapping[str, Any]) -> Tables:
    """Return the tables of a config; exit with a sentence where something is wrong with it."""
    return open_tables(config, PROJECT)
