"""The ``code`` of a job: the digest of what it runs, its script with the method or the family that it names."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from ..catalogue.behaviours import BEHAVIOURS
from ..catalogue.estimators import ESTIMATORS
from ..catalogue.methods import METHODS
from .digest import CodeDigests
from .figures import explored_games
from .tables import Tables

# Another way of telling jobs apart gets another scheme, so that nobody takes its difference for an edit.
SCHEME = "v3:"
# How digests were recorded under other schemes.
_OLDER = re.compile(r"'(v\d+:)?[0-9a-f]{16}'")
_SAMPLED = 20
Chosen = Literal["method", "family", "behaviour", "estimators", "look", "looks", "contributors"]


class JobCode:
    """Makes the ``code`` param of rules."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.digests = CodeDigests(tables.root)

    def __call__(self, script: str, *chosen: Chosen) -> Callable[[Any], str]:
        """Return a function of wildcards that gives the digest of what a job runs.

        Args:
            script: the script of the rule.
            chosen: what the script finds by name beside what it always imports: the ``method`` or the ``behaviour``
                that the job's wildcards name (without a wildcard, the method of the run's maps), the ``family`` of the
                base that it loads, all ``estimators``, the ``look`` of the one method that a figure shows (that of the
                wildcards, else the indexed one), the ``looks`` of all methods of its run, of a game those of
                estimators too, or what a page says of ``contributors``: the looks of a game, and the summaries of its
                estimators.
        """

        def code(wildcards: Any) -> str:
            modules = []
            if "method" in chosen:
                named = getattr(wildcards, "method", None) or self.tables.runs[wildcards.run].maps.method
                modules.append(METHODS[named].module)
            if "behaviour" in chosen:
                modules.append(BEHAVIOURS[wildcards.behaviour].module)
            if "estimators" in chosen:
                modules += [entry.module for entry in ESTIMATORS.values()]
            if "family" in chosen:
                modules.append(self.tables.base_of(wildcards).family.module)
            facts = ""
            if "look" in chosen:
                facts = _looks([getattr(wildcards, "method", None) or self._indexed(wildcards)])
            if "looks" in chosen:
                facts = self._all_looks(wildcards)
            if "contributors" in chosen:
                facts = self._told_of_contributors(wildcards)
            return SCHEME + self.digests.digest(script, *modules, facts=facts)

        return code

    def _indexed(self, wildcards: Any) -> str:
        return self.tables.runs[wildcards.run].influence.indexed

    def _all_looks(self, wildcards: Any) -> str:
        """Return the looks of all methods of a run; of a game, those of its run, if it has one, and of estimators."""
        runs = self.tables.runs
        if not hasattr(wildcards, "game"):
            return _looks(runs[wildcards.run].influence.methods)
        run = self.tables.games[wildcards.game].settings["run"]
        looks = [(entry.name, entry.label, entry.look) for entry in ESTIMATORS.values()]
        return _looks(runs[run].influence.methods if run else []) + repr(looks)

    def _told_of_contributors(self, wildcards: Any) -> str:
        """Return what a page says of estimators and local methods; of a run, nothing unless its explorer shows them."""
        told = repr([(entry.name, entry.label, entry.summary) for entry in ESTIMATORS.values()])
        if hasattr(wildcards, "game"):
            return self._all_looks(wildcards) + told
        run = self.tables.runs[wildcards.run]
        games = explored_games(run, self.tables.games.values())
        shown = any(game.settings["in_explorer"] for game in games)
        return _looks(run.influence.methods) + told if shown else ""


def _looks(methods: Iterable[str]) -> str:
    """Return what figures know of methods: how each is called and drawn, and in which order."""
    entries = [METHODS[method] for method in methods]
    return repr([(entry.name, entry.label, entry.look, entry.inputs, entry.options) for entry in entries])


def older_code(folder: Path) -> str | None:
    """Say why everything in a working directory is stale, where its results were told apart by another scheme.

    A few of Snakemake's records tell.
    """
    records = islice((folder / ".snakemake" / "metadata").glob("*"), _SAMPLED)
    digests = [digest for record in records if record.is_file() for digest in _digests(record)]
    if not digests or any(SCHEME in digest for digest in digests):
        return None
    return (
        "All results here count as stale, once, because they were made when jobs were not told apart by the code that "
        "each runs and the contents of the files that it reads; to keep them, run snakemake --touch with the targets "
        "that made them."
    )


def _digests(record: Path) -> list[str]:
    try:
        params = json.loads(record.read_text(encoding="utf-8")).get("params") or []
    except (ValueError, AttributeError):
        return []
    return [param for param in params if isinstance(param, str) and _OLDER.fullmatch(param)]
