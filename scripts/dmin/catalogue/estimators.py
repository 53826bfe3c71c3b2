"""The estimators of contributions: what each is fitted on. An estimator is one file of ``dmin.games.estimators``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from .aggregates import AGGREGATES
from .entries import read_entries

FOLDER = "games/estimators"


@dataclass(frozen=True)
class EstimatorEntry:
    """What the workflow must know of an estimator before anything runs.

    Attributes:
        name: its name in the config and in tables; the name of its file.
        laws: the laws whose coalitions it can be fitted on; of those that a game draws, the first is taken.
        index: the value that it estimates; exact games are compared by it.
        resamples: what its bootstrap draws again: ``coalitions``, ``permutations``, or nothing but the noise of
            training ``seeds``.
        ends: it needs v(all) and v(none).
        unknowns: (a, b), where it needs a n + b coalitions of n players, since no ridge makes up for fewer.
        efficient: its contributions sum to v(all) - v(none).
        summary: one line for tables of estimators.
        formula: what it computes; ``source`` says from where.
        label: what figures call it; without one, its name with spaces.
        look: its colour, marker and line in figures; see :class:`MethodEntry`.
    """

    name: str
    laws: tuple[str, ...]
    index: Literal["shapley", "banzhaf", "leave_one_out", "add_one_in"]
    resamples: Literal["coalitions", "permutations", "seeds"]
    summary: str
    formula: str
    source: str
    unknowns: tuple[int, int] | None = None
    ends: bool = False
    efficient: bool = False
    label: str = ""
    look: tuple[str, str, str] | None = None
    module: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "module", f"dmin.{FOLDER.replace('/', '.')}.{self.name}")
        object.__setattr__(self, "label", self.label or self.name.replace("_", " "))


ESTIMATORS: dict[str, EstimatorEntry] = {
    name: EstimatorEntry(name=name, **entry) for name, entry in read_entries(FOLDER, "ESTIMATOR").items()
}


BASELINES = ("random", "size")


def estimator_names(methods: Iterable[str]) -> list[str]:
    """Return the names of all estimators and baselines, those of a run's local ``methods`` with their aggregates."""
    return [*ESTIMATORS, *BASELINES, *(f"{method}_{how}" for method in methods for how in AGGREGATES)]
