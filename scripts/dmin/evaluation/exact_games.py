"""How near estimators come to the exact values of a game all of whose coalitions were trained."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from dmin.catalogue.estimators import ESTIMATORS
from dmin.evaluation.member_agreement import correlate
from dmin.games.baselines import judged_baselines
from dmin.games.contributions import read_contributions
from dmin.games.exact import EXACT, complete
from dmin.games.laws import RANDOM, Law
from dmin.games.outcomes import Outcomes
from dmin.games.records import Records
from dmin.games.registry import find_estimator
from dmin.runtime.atomic import write_csv
from dmin.runtime.errors import UserError
from dmin.runtime.percentiles import Interval, percentile_interval
from dmin.runtime.seeds import derive_seed

log = logging.getLogger(__name__)

COLUMNS = [
    "estimator", "behaviour", "coalitions", "spearman", "error", "low", "high", "trainer", "truth", "index", "draws",
]  # fmt: skip
# How often coalitions are drawn anew from the game.
DRAWS = 30


def relative_error(found: np.ndarray, exact: np.ndarray) -> float:
    """Return the Euclidean distance to the exact contributions, over the length of these; NaN where that is 0."""
    length = float(np.linalg.norm(exact))
    return float(np.linalg.norm(found - exact)) / length if length else float("nan")


def counts(players: int) -> list[int]:
    """Return the numbers of coalitions that a curve is drawn at: 4, 6, 8, 12, 16, ... below all 2^n - 2."""
    steps = sorted({base << step for step in range(12) for base in (4, 6)})
    return [count for count in steps if count < 2**players - 2]


def curve_law(name: str, players: int, seed: int) -> Law:
    """Return the law that an estimator's coalitions are drawn from in an exact game.

    The first of its random laws that can give half of all coalitions, since one that gives few would tell of those
    alone; else its first law.
    """
    laws = ESTIMATORS[name].laws
    sizes = {"datamodel": players // 2}
    drawn = [Law(law, players, seed, sizes.get(law, 0)) for law in laws if law in RANDOM]
    rich = [law for law in drawn if law.support >= 2 ** (players - 1)]
    return (rich or drawn or [Law(laws[0], players)])[0]


@cache
def draw_members(
    name: str, players: int, seed: int, held: tuple[frozenset[bytes], ...]
) -> list[tuple[Law, np.ndarray]]:
    """Return coalitions of an estimator's law as many as the longest curve has, one entry for each of ``held``.

    Args:
        held: coalitions that are passed over, as :func:`keys` gives them.
    """
    found = []
    for draw, avoid in enumerate(held):
        law = curve_law(name, players, derive_seed(seed, "exact", name, draw))
        left = law.support - sum(law.contains(_coalition(key, players))[0] for key in avoid)
        longest = max((count for count in counts(players) if count <= left), default=0)
        if law.name not in RANDOM or longest:
            found.append((law, law.draw(longest if law.name in RANDOM else None, avoid)))
    return found


def draw_fits(
    name: str, values: np.ndarray, seed: int, held: tuple[frozenset[bytes], ...]
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the numbers of coalitions of the curve, each with fits ``[draws, n]`` on coalitions drawn from the game.

    A number that is too small for the estimator is left out.

    Args:
        values: of all coalitions ``[2^n]``; see :func:`complete`.
        held: of each draw, coalitions that are passed over.
    """
    players = len(values).bit_length() - 1
    estimator = find_estimator(name)
    drawn = [exact_outcomes(law, member, values) for law, member in draw_members(name, players, seed, held)]
    longest = min((len(outcomes.values) for outcomes in drawn), default=0)
    drawn_at_random = bool(drawn) and drawn[0].law.name in RANDOM
    for count in [size for size in counts(players) if size <= longest] if drawn_at_random else [longest][: len(drawn)]:
        try:
            yield count, np.array([estimator.fit(outcomes.first(count)) for outcomes in drawn])
        except UserError:
            continue


def exact_outcomes(law: Law, member: np.ndarray, values: np.ndarray) -> Outcomes:
    """Return the outcomes of coalitions of a game all of whose values ``[2^n]`` are known."""
    places = (member * (1 << np.arange(law.players))).sum(axis=1)
    return Outcomes(law, member, values[places], float(values[0]), float(values[-1]))


def _coalition(key: bytes, players: int) -> np.ndarray:
    return np.unpackbits(np.frombuffer(key, dtype=np.uint8)[None], axis=1, count=players).astype(bool)


def require_exact(records: Records) -> None:
    """Refuse a game of which no trainer has every coalition.

    Raises:
        UserError: it is such a game.
    """
    if not records.exact:
        raise UserError(
            "No trainer has every coalition of the game, so it has no exact values; set coalitions.exact.all to true "
            "and train those that exclude leaves out at a lower learning rate."
        )


def compare_exact(records: Records, contributions: pd.DataFrame, interval: Interval) -> pd.DataFrame:
    """Return how every estimator compares with the exact game over the number of coalitions; see ``COLUMNS``.

    The truth are the exact values by the trainer nearest to retraining of those that trained all coalitions. Estimators
    are fitted on ``coalitions`` drawn from the game of each such trainer, again and again: ``spearman`` and ``error``
    (see :func:`relative_error`) are means over ``draws``, and ``low`` and ``high`` bound Spearman's correlation over
    them. A law that draws nothing at random gives one fit and no interval. ``index`` is the exact value that an
    estimator is compared with. Baselines are compared with Shapley's, whose units they lack, and so have no error.

    Args:
        contributions: see :func:`fit_contributions`; baselines are taken from there.

    Raises:
        UserError: nobody trained every coalition.
    """
    require_exact(records)
    truth, rows = records.exact[0], []
    for behaviour in records.behaviours:
        values = {who: complete(records.outcomes(behaviour, who, "all")) for who in records.exact}
        exact = {index: function(values[truth]) for index, function in EXACT.items()}
        for trainer in records.exact:
            for name, entry in ESTIMATORS.items():
                if trainer == truth and entry.laws == ("all",):
                    continue  # it is the truth
                draws = DRAWS if curve_law(name, len(records.names), 0).name in RANDOM else 1
                for count, fits in draw_fits(name, values[trainer], interval["seed"], (frozenset(),) * draws):
                    facts = [trainer, truth, entry.index, len(fits)]
                    rows.append([name, behaviour, count, *_compare(fits, exact[entry.index], interval), *facts])
        baselines = judged_baselines(contributions, behaviour, records.names, DRAWS, interval["seed"])
        for name, fits in baselines.items():
            spearman, _, low, high = _compare(fits, exact["shapley"], interval)
            draws = len(fits) if name == "random" else 1
            ends = [low, high] if draws > 1 else [float("nan")] * 2
            rows.append([name, behaviour, 0, spearman, float("nan"), *ends, "", truth, "shapley", draws])
        log.info("%s: exact values by %s", behaviour, truth)
    return pd.DataFrame(rows, columns=COLUMNS)


def _compare(fits: np.ndarray, exact: np.ndarray, interval: Interval) -> list[float]:
    """Return the mean correlation and error of fits ``[draws, n]``, and the ends of the interval of the first."""
    found = np.array([correlate(fit, exact)[1] for fit in fits])
    error = float(np.mean([relative_error(fit, exact) for fit in fits]))
    known = found[np.isfinite(found)]
    if len(known) < 2:
        return [float(known[0]) if len(known) else float("nan"), error, float("nan"), float("nan")]
    return [float(known.mean()), error, *percentile_interval(known, interval["confidence"]).tolist()]


def evaluate_exact(records: Records, contributions: Path, interval: Interval, out: Path) -> None:
    """Write the table of :func:`compare_exact`.

    Raises:
        UserError: as :func:`compare_exact`.
    """
    given = read_contributions(contributions)
    write_csv(compare_exact(records, given, interval), out)
