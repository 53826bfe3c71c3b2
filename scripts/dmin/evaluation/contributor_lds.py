"""LDS of contributions: do they foretell what models do that were retrained on coalitions held out?"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dmin.catalogue.estimators import ESTIMATORS
from dmin.evaluation.exact_games import DRAWS, draw_fits, draw_members
from dmin.evaluation.fit_cost import SPARSIFIED, FitCost
from dmin.evaluation.lds import lds_interval
from dmin.evaluation.member_agreement import correlate
from dmin.evaluation.retrained import noise_ceiling
from dmin.games.baselines import judged_baselines
from dmin.games.contributions import find_fits, read_contributions
from dmin.games.exact import complete
from dmin.games.laws import keys
from dmin.games.records import Records
from dmin.runtime.atomic import write_csv
from dmin.runtime.errors import UserError
from dmin.runtime.percentiles import Interval, percentile_interval
from dmin.runtime.seeds import derive_seed

log = logging.getLogger(__name__)

COLUMNS = [
    "estimator", "behaviour", "lds", "low", "high", "ceiling", "coalitions", "compute", "trainer", "size", "tests",
    "seeds", "sparsified",
]  # fmt: skip
FEWEST_TESTS = 3
FEWEST_COALITIONS = 8


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


def _fits(records: Records, behaviour: str, cost: FitCost) -> Iterator[tuple[list[object], np.ndarray]]:
    """Yield facts of every fit at every budget, and its contributions."""
    for trainer in records.trainers:
        for fit in find_fits(records, behaviour, trainer):
            law = fit.outcomes.law.name
            if law == "all":
                continue  # it holds the test's coalitions
            count, seeds = len(fit.outcomes.values), records.seeds(behaviour, trainer, law)
            whole = fit.estimator.entry.resamples == "seeds"
            for budget in [count] if whole else budgets(count):
                try:
                    drawn = fit.outcomes.first(budget)
                    values = fit.estimator.fit(drawn)
                except UserError:
                    continue  # fewer coalitions than unknowns: its curve begins later
                paid = cost.paid(trainer, drawn.member, seeds, records.sizes)
                yield [fit.name, budget, paid, trainer], values


def find_lds(records: Records, contributions: pd.DataFrame, cost: FitCost, interval: Interval) -> pd.DataFrame:
    """Return the LDS of every estimator over the number of coalitions, and of every baseline; see ``COLUMNS``.

    LDS is Spearman's correlation, over held-out coalitions of one ``size``, between the sum of the contributions of
    those in and what the models retrained on them did (means over seeds); in -1..1, 0 for chance. ``compute`` is what
    all members of the ``coalitions`` of the fit cost (see :meth:`FitCost.paid`); empty for baselines. ``sparsified``
    is the LDS of the same estimator on as many sparsified coalitions as the same compute pays for; empty where it pays
    for none.

    A game that draws no coalitions for a fit, since all were trained, is cut into a fit and a test again and again:
    half of the coalitions of the middle sizes are held out, and estimators are fitted on coalitions drawn from the
    others. LDS is then the mean over cuts, and its interval is over them.

    Args:
        contributions: see :func:`fit_contributions`; baselines are taken from there.

    Raises:
        UserError: there are no held-out members, and not every coalition was trained.
    """
    rows: list[list[object]] = []
    for behaviour in records.behaviours:
        baselines = judged_baselines(contributions, behaviour, records.names, DRAWS, interval["seed"])
        tests = held_out(records, behaviour)
        drawn = any(set(records.laws(trainer)) - {"all"} for trainer in records.trainers)
        if tests and (drawn or not records.exact):
            rows += _fitted_rows(records, behaviour, tests, cost, interval)
            rows += _baseline_rows(behaviour, baselines, tests, interval)
        elif records.exact:
            rows += cut_game(records, behaviour, baselines, cost, interval)
        else:
            raise UserError(
                f"Fewer than {FEWEST_TESTS} held-out coalitions of a size were measured by {behaviour}; raise "
                "coalitions.test.count of the game."
            )
        log.info("%s: LDS of %d estimators and baselines", behaviour, len({row[0] for row in rows}))
    return _at_equal_compute(pd.DataFrame(rows, columns=COLUMNS[:-1]))


def _at_equal_compute(table: pd.DataFrame) -> pd.DataFrame:
    """Add ``sparsified``."""
    found = pd.Series(np.nan, index=table.index)
    for _, rows in table[table["compute"] > 0].groupby(["estimator", "behaviour", "size"]):
        cheap = rows[rows["trainer"] == SPARSIFIED].sort_values("compute")
        others = rows[rows["trainer"] != SPARSIFIED]
        paid = np.searchsorted(cheap["compute"].to_numpy(), others["compute"].to_numpy(), side="right")
        # Where nothing is paid for there is no LDS.
        known = np.concatenate([[np.nan], cheap["lds"].to_numpy()])
        found[others.index] = pd.Series(known[paid], index=others.index)
    return table.assign(sparsified=found)


def _fitted_rows(
    records: Records, behaviour: str, tests: list[HeldOut], cost: FitCost, interval: Interval
) -> list[list[object]]:
    rows: list[list[object]] = []
    for (name, count, paid, trainer), values in _fits(records, behaviour, cost):
        for test in tests:
            found = [*test.judge(values, interval), test.ceiling, count, paid, trainer, test.size]
            rows.append([name, behaviour, *found, *test.values.shape])
    return rows


def _baseline_rows(
    behaviour: str, baselines: dict[str, np.ndarray], tests: list[HeldOut], interval: Interval
) -> list[list[object]]:
    """Return the rows of baselines; those of chance are means over draws, their intervals too."""
    rows: list[list[object]] = []
    for name, fits in baselines.items():
        for test in tests:
            judged = [test.judge(fit, interval) for fit in (fits if name == "random" else fits[:1])]
            found = [*np.mean(judged, axis=0).tolist(), test.ceiling, 0, np.nan, "", test.size]
            rows.append([name, behaviour, *found, *test.values.shape])
    return rows


def cut_game(
    records: Records,
    behaviour: str,
    baselines: dict[str, np.ndarray],
    cost: FitCost,
    interval: Interval,
) -> list[list[object]]:
    """Return rows of :func:`find_lds` of a game that is cut into a fit and a test again and again."""
    truth, players = records.exact[0], len(records.names)
    table = records.values(behaviour, truth, "exact").dropna()
    member = records.member(table.index)
    sizes = member.sum(axis=1)
    middle = [size for size in (players // 2 - 1, players // 2, players // 2 + 1) if 0 < size < players]
    cuts = []
    for draw in range(DRAWS):
        generator = np.random.default_rng(derive_seed(interval["seed"], "cut", draw))
        cuts.append({size: generator.permutation(np.flatnonzero(sizes == size))[::2] for size in middle})
    held = tuple(frozenset(keys(member[np.concatenate(list(cut.values()))])) for cut in cuts)
    values = table.to_numpy()

    def judge(fits: np.ndarray, size: int) -> list[float]:
        pairs = [
            (member[cut[size]].astype(float) @ fit, values[cut[size]].mean(axis=1))
            for fit, cut in zip(fits, cuts, strict=True)
        ]
        found = np.array([correlate(*pair)[1] for pair in pairs])
        known = found[np.isfinite(found)]
        if not len(known):
            return [float("nan")] * 3
        return [float(known.mean()), *percentile_interval(known, interval["confidence"]).tolist()]

    rows: list[list[object]] = []
    noise = records.member_noise(behaviour, truth)
    ceilings = {size: _ceiling(values[sizes == size], noise) for size in middle}
    fitted = [*_cut_fits(records, behaviour, cost, interval["seed"], held)]
    fitted += [(name, 0, float("nan"), "", fits) for name, fits in baselines.items()]
    for name, count, paid, trainer, fits in fitted:
        for size in middle:
            found = [*judge(fits, size), ceilings[size], count, paid, trainer, size]
            rows.append([name, behaviour, *found, len(cuts[0][size]), values.shape[1]])
    return rows


def _cut_fits(
    records: Records, behaviour: str, cost: FitCost, seed: int, held: tuple[frozenset[bytes], ...]
) -> Iterator[tuple[str, int, float, str, np.ndarray]]:
    """Yield name, coalitions, compute, trainer and fits ``[cuts, n]`` of the curves of all estimators."""
    for trainer in records.exact:
        values, seeds = complete(records.outcomes(behaviour, trainer, "all")), records.seeds(behaviour, trainer, "all")
        for name, entry in ESTIMATORS.items():
            if entry.laws == ("all",):
                continue  # it needs what is held out
            members = [member for _, member in draw_members(name, len(records.names), seed, held)]
            for count, fits in draw_fits(name, values, seed, held):
                drawn = np.array([member[:count] for member in members])
                yield name, count, cost.paid(trainer, drawn, seeds, records.sizes), trainer, fits


def _ceiling(values: np.ndarray, noise: float) -> float:
    """Return the ceiling of values ``[coalitions, seeds]``.

    With a single seed it is the root of the share of their variance that is no ``noise`` of seeds, which other
    coalitions tell; NaN where none does.
    """
    if values.shape[1] > 1:
        return noise_ceiling(values[:, :, None])[1]
    variance = float(values.var(ddof=1))
    return float(np.sqrt(np.maximum(0.0, 1 - noise**2 / variance))) if variance > 0 else float("nan")


def evaluate_contributor_lds(
    records: Records, contributions: Path, cost: FitCost, interval: Interval, out: Path
) -> None:
    """Write the table of :func:`find_lds`.

    Raises:
        UserError: as :func:`find_lds`.
    """
    given = read_contributions(contributions)
    write_csv(find_lds(records, given, cost, interval), out)
