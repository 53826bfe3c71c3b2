"""The estimators of contributions with their functions, each imported when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from dmin.catalogue.estimators import ESTIMATORS
from dmin.games.outcomes import Outcomes
from dmin.runtime.errors import UserError


class Estimator:
    """An estimator: its entry in the catalogue, and what its file defines.

    ``contributions(outcomes)`` gives float64 ``[n]``. Where the file defines ``tune(outcomes)``, what it returns is
    chosen once, on the coalitions as they are, and given to ``contributions`` as its second argument. An estimator
    whose entry resamples permutations defines ``parts(outcomes)``, estimates ``[permutations, n]`` whose mean is its
    own. Where it defines ``used(outcomes)``, that is how many of the coalitions it takes, which is all by default.
    """

    def __init__(self, name: str) -> None:
        self.entry = ESTIMATORS[name]
        module = import_module(self.entry.module)
        self.contributions: Callable[..., np.ndarray] = module.contributions
        self._tune: Callable[[Outcomes], Any] | None = getattr(module, "tune", None)
        self.parts: Callable[[Outcomes], np.ndarray] | None = getattr(module, "parts", None)
        self.used: Callable[[Outcomes], int] = getattr(module, "used", lambda outcomes: len(outcomes.values))

    def choices(self, outcomes: Outcomes) -> tuple[Any, ...]:
        """Return what is chosen on the coalitions before the fit, as further arguments of ``contributions``."""
        return () if self._tune is None else (self._tune(outcomes),)

    def fit(self, outcomes: Outcomes) -> np.ndarray:
        """Return the contributions ``[n]``.

        Raises:
            UserError: the estimator cannot be fitted on the law, or lacks v(all) or v(none); or as its file says.
        """
        self.check(outcomes)
        return self.contributions(outcomes, *self.choices(outcomes))

    def check(self, outcomes: Outcomes) -> None:
        """Refuse outcomes that the estimator cannot be fitted on.

        Raises:
            UserError: as :meth:`fit`.
        """
        name, law = self.entry.name, outcomes.law.name
        if law not in self.entry.laws:
            raise UserError(
                f"Estimator '{name}' cannot be fitted on coalitions of law '{law}'; draw one of "
                f"{', '.join(self.entry.laws)}."
            )
        gaps = [end for end, value in (("none", outcomes.none), ("all", outcomes.all)) if value != value]
        if self.entry.ends and gaps:
            whom = {"none": "the empty", "all": "the full"}[gaps[0]]
            raise UserError(
                f"Estimator '{name}' needs v({gaps[0]}), but {whom} coalition was not measured; run that member."
            )
        outside = ~outcomes.law.contains(outcomes.member)
        if outside.any():
            players = int(outcomes.member[outside][0].sum())
            raise UserError(
                f"A coalition of {players} of {outcomes.players} players is none of law '{law}', which it is recorded "
                "under; draw the coalitions again."
            )


@cache
def find_estimator(name: str) -> Estimator:
    """Return the estimator called ``name``.

    Raises:
        UserError: there is none.
    """
    if name not in ESTIMATORS:
        raise UserError(f"Estimator '{name}' is unknown; choose one of {', '.join(sorted(ESTIMATORS))}.")
    return Estimator(name)
