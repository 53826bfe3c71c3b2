"""LDS of contributions: do they foretell what models do that were retrained on coalitions held out?"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dmin.evaluation.bootstrap import Interval
from dmin.evaluation.lds import lds_interval, noise_ceiling
from dmin.games.contributions import find_fits
from dmin.games.records import Records
from dmin.runtime.atomic import write_csv
from dmin.runtime.errors import UserError

log = logging.getLogger(__name__)

COLUMNS = [
    "estimator", "behaviour", "lds", "low", "high", "ceiling", "coalitions", "compute", "trainer", "size", "tests",
    "seeds",
]  # fmt: skip
FEWEST_TESTS = 3
FEWEST_COALITIONS = 8
# What is paid once, before the first member of a trainer.
ONCE = {"sparsified": "pruning"}


@dataclass(frozen=True)
class HeldOut:
    """Held-out coalitions of one size: who was in, and what their models did.

    Attributes:
        member: boolean ``[tests, n]``.
        values: ``[tests, seeds]``, of coalitions that all seeds were trained of.
    """

    size: int
    member: np.ndarray
    values: np.ndarray

    @property
    def ceiling(self) -> float:
        """What perfect contributions could reach with so many seeds; NaN with one."""
        return noise_ceiling(self.values[:, :, None])[1]

    def judge(self, contributions: np.ndarray, interval: Interval) -> tuple[float, float, float]:
        """Return Spearman's correlation of sums of contributions with the values, and the ends of its interval.

        The interval is over resampled coalitions.
        """
        predicted = self.member.astype(float) @ contributions
        return lds_interval(predicted[None], self.values.mean(axis=1)[None], interval)


def held_out(records: Records, behaviour: str) -> list[HeldOut]:
    """Return the test of a game, one entry for each size of coalition; retrained where there are such members."""
    found = []
    for trainer in reversed(records.trainers):
        table = records.values(behaviour, trainer, "test").dropna()
        member = records.member(table.index)
        sizes = member.sum(axis=1)
        for size in sorted(set(sizes.tolist())):
            rows = sizes == size
            if rows.sum() >= FEWEST_TESTS:
                found.append(HeldOut(size, member[rows], table.to_numpy()[rows]))
        if found:
            return found
    return found


def budgets(count: int) -> list[int]:
    """Return how many of ``count`` coalitions a curve is drawn at: 8, 16, 32, ... and all."""
    doubling = [FEWEST_COALITIONS << step for step in range(20)]
    return sorted({*(size for size in doubling if size < count), count})


def _fits(records: Records, behaviour: str, compute: dict[str, float]) -> Iterator[tuple[list[object], np.ndarray]]:
    """Yield facts of every fit at every budget, and its contributions."""
    for trainer in records.trainers:
        for fit in find_fits(records, behaviour, trainer):
            law = fit.outcomes.law.name
            if law == "all":
                continue  # it holds the test's coalitions
            count = len(fit.outcomes.values)
            whole = fit.estimator.entry.resamples == "seeds"
            for budget in [count] if whole else budgets(count):
                try:
                    values = fit.estimator.fit(fit.outcomes.first(budget))
                except UserError:
                    continue  # fewer coalitions than unknowns: its curve begins later
                paid = budget * compute.get(trainer, np.nan) + compute.get(ONCE.get(trainer, ""), 0.0)
                yield [fit.name, budget, paid, trainer], values


def find_lds(records: Records, contributions: pd.DataFrame, cost: pd.DataFrame, interval: Interval) -> pd.DataFrame:
    """Return the LDS of every estimator over the number of coalitions, and of every baseline; see ``COLUMNS``.

    LDS is Spearman's correlation, over held-out coalitions of one ``size``, between the sum of the contributions of
    those in and what the models retrained on them did (means over seeds); in -1..1, 0 for chance. ``compute`` is what
    the ``coalitions`` of the fit cost, with what is paid once, in units of one retraining; empty for baselines.

    Args:
        contributions: see :func:`fit_contributions`; baselines are taken from there.
        cost: columns ``trainer, compute``.

    Raises:
        UserError: there are no held-out members.
    """
    compute = {str(trainer): float(value) for trainer, value in zip(cost["trainer"], cost["compute"], strict=True)}
    rows = []
    for behaviour in records.behaviours:
        tests = held_out(records, behaviour)
        if not tests:
            raise UserError(
                f"Fewer than {FEWEST_TESTS} held-out coalitions of a size were measured by {behaviour}; raise "
                "coalitions.test.count of the game."
            )
        baselines = contributions[(contributions["behaviour"] == behaviour) & (contributions["coalitions"] == 0)]
        plain = [
            ([name, 0, np.nan, ""], part.set_index("player").loc[records.names, "value"].to_numpy())
            for name, part in baselines.groupby("estimator", sort=False)
        ]
        for (name, count, paid, trainer), values in [*_fits(records, behaviour, compute), *plain]:
            for test in tests:
                found = [*test.judge(values, interval), test.ceiling, count, paid, trainer]
                rows.append([name, behaviour, *found, test.size, *test.values.shape])
        log.info("%s: %d sizes of held-out coalitions", behaviour, len(tests))
    return pd.DataFrame(rows, columns=COLUMNS)


def evaluate_contributor_lds(records: Records, contributions: Path, cost: Path, interval: Interval, out: Path) -> None:
    """Write the table of :func:`find_lds`.

    Raises:
        UserError: as :func:`find_lds`.
    """
    given = pd.read_csv(contributions, dtype={"player": "string"})
    write_csv(find_lds(records, given, pd.read_csv(cost), interval), out)
