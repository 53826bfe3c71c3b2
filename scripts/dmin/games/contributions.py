"""The table of contributions: who shaped what a model does, by every estimator."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dmin.catalogue.estimators import ESTIMATORS
from dmin.games.baselines import find_baselines
from dmin.games.outcomes import Outcomes
from dmin.games.records import Records
from dmin.games.registry import Estimator, find_estimator
from dmin.games.resampling import Noise, bootstrap_contributions
from dmin.runtime.atomic import write_csv
from dmin.runtime.errors import UserError
from dmin.runtime.percentiles import Interval, percentile_interval
from dmin.runtime.readers import read_csv

log = logging.getLogger(__name__)

COLUMNS = [
    "estimator", "behaviour", "player", "samples", "value", "low", "high", "share", "trainer", "law", "coalitions",
]  # fmt: skip


@dataclass(frozen=True)
class Fit:
    """An estimator and what it is fitted on."""

    estimator: Estimator
    outcomes: Outcomes
    trainer: str
    noise: Noise

    @property
    def name(self) -> str:
        """The estimator's name."""
        return self.estimator.entry.name

    def contributions(self) -> np.ndarray | None:
        """Return the contributions ``[n]``; None where members that were left out are missed, which is logged.

        Raises:
            UserError: as :meth:`Estimator.check`.
        """
        self.estimator.check(self.outcomes)
        try:
            return self.estimator.fit(self.outcomes)
        except UserError as error:
            log.warning("%s is left out: %s", self.name, error)
            return None


def read_contributions(path: Path) -> pd.DataFrame:
    """Return what :func:`write_contributions` wrote; names of players are text, whatever they look like."""
    numbers = ("value", "low", "high", "share")
    gaps = {name: [""] for name in numbers}
    return read_csv(path, dtype={"player": "string"}, keep_default_na=False, na_values=gaps)


def find_fits(records: Records, behaviour: str, trainer: str | None = None) -> Iterator[Fit]:
    """Yield every estimator that can be fitted, each on the first of its laws that the game has members of.

    Args:
        trainer: whose members; by default those that the game fits on, and, for an estimator that needs a law which
            these lack, those that have every coalition.
    """
    for name, entry in ESTIMATORS.items():
        exact = records.exact[:1]
        # What needs all coalitions is the truth, where there is one.
        asked = [trainer] if trainer else exact if entry.laws == ("all",) else [records.fitting, *exact]
        found = ((who, law) for who in asked if who for law in entry.laws if law in records.laws(who))
        chosen = next(found, None)
        if chosen is not None and (entry.laws != ("all",) or chosen[0] in records.exact):
            noise = records.noise(behaviour, *chosen)
            yield Fit(find_estimator(name), records.outcomes(behaviour, *chosen), chosen[0], noise)


def fit_contributions(records: Records, scores: Mapping[str, Path], interval: Interval) -> pd.DataFrame:
    """Return the contributions of all players to all behaviours by every estimator and baseline; see ``COLUMNS``.

    ``value`` is in units of the behaviour, or of its own for a baseline; ``low`` and ``high`` bound its bootstrap
    interval, over coalitions and seeds, or over queries. ``share`` is ``value`` over v(all) - v(none) of the same
    trainer, empty for baselines. Baselines are turned to point where everyone together moved the behaviour.

    Args:
        scores: a score matrix of each local method.

    Raises:
        UserError: v(all) or v(none) is missing; or as :func:`find_baselines`.
    """
    baselines = {
        name: (baseline.values, baseline.interval(interval))
        for name, baseline in find_baselines(records.samples, scores, records.seed).items()
    }
    parts = []
    for behaviour in records.behaviours:
        for fit in find_fits(records, behaviour):
            values = fit.contributions()
            if values is None:
                continue
            resampled = bootstrap_contributions(
                fit.estimator, fit.outcomes, fit.noise, interval["bootstrap"], interval["seed"]
            )
            facts: dict[str, Any] = {"estimator": fit.name, "trainer": fit.trainer, "law": fit.outcomes.law.name}
            facts |= {"share": values / fit.outcomes.gain, "coalitions": fit.estimator.used(fit.outcomes)}
            ends = percentile_interval(resampled, interval["confidence"])
            parts.append(_table(records, behaviour, values, ends).assign(**facts))
            log.info("%s, %s: %d coalitions of law %s", behaviour, fit.name, facts["coalitions"], facts["law"])
        direction = _direction(records, behaviour)
        for name, (worth, ends) in baselines.items():
            turned = ends if direction > 0 else ends[::-1]
            part = _table(records, behaviour, direction * worth, direction * turned)
            parts.append(part.assign(estimator=name, share=np.nan, trainer="", law="", coalitions=0))
    return pd.concat(parts, ignore_index=True)[COLUMNS]


def write_contributions(records: Records, scores: Mapping[str, Path], interval: Interval, out: Path) -> None:
    """Write the table of :func:`fit_contributions`."""
    write_csv(fit_contributions(records, scores, interval), out)


def _direction(records: Records, behaviour: str) -> float:
    """Return 1 where everyone together raises a behaviour, else -1: what helps a model lowers some of them."""
    for trainer in dict.fromkeys([*records.exact, *records.trainers]):
        none, everyone = records.ends(behaviour, trainer)
        if everyone == everyone and none == none:
            return 1.0 if everyone >= none else -1.0
    return 1.0


def _table(records: Records, behaviour: str, values: np.ndarray, ends: np.ndarray) -> pd.DataFrame:
    who = {"player": records.names, "samples": records.sizes}
    return pd.DataFrame({"behaviour": behaviour, **who, "value": values, "low": ends[0], "high": ends[1]})
