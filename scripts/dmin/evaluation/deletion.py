"""What is left of a behaviour without the top contributors, or with them alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import ndtri

from dmin.evaluation.exact_games import DRAWS, require_exact
from dmin.games.baselines import random_contributions
from dmin.games.contributions import read_contributions
from dmin.games.curves import KEEP, REMOVE, curve_coalition, rank_players
from dmin.games.laws import keys
from dmin.games.records import Records
from dmin.games.resampling import seed_noise
from dmin.runtime.atomic import write_csv
from dmin.runtime.percentiles import Interval
from dmin.runtime.readers import read_csv

COLUMNS = ["estimator", "behaviour", "kind", "share", "players", "value", "low", "high", "trainer", "seeds"]
# Everyone, from which a curve begins; no one, at its end.
WHOLE = "everyone"


def read_deletion(records: Records, contributions: pd.DataFrame, interval: Interval) -> pd.DataFrame:
    """Return both curves of every estimator and baseline from a game all of whose coalitions were trained.

    ``value`` is the behaviour, the mean over seeds, without the top ``players`` (``kind`` remove) or with them alone
    (keep); ``share`` is theirs of all players. ``low`` and ``high`` are where the mean would lie with other seeds;
    empty where no coalition has two. Chance is the mean over random orders. Members are those of the trainer that comes
    nearest to retraining.

    Args:
        contributions: see :func:`fit_contributions`.

    Raises:
        UserError: nobody trained every coalition.
    """
    require_exact(records)
    trainer, names = records.exact[0], records.names
    rows: list[list[object]] = []
    for behaviour in records.behaviours:
        table = records.values(behaviour, trainer, "exact")
        places = {key: row for row, key in enumerate(keys(records.member(table.index)))}
        spread, values = _spread(records.member_noise(behaviour, trainer), interval), table.to_numpy()
        estimators = contributions.loc[contributions["behaviour"] == behaviour, "estimator"].unique()
        for estimator in estimators:
            orders = [rank_players(contributions, estimator, behaviour, names)]
            if estimator == "random":
                orders = list(np.argsort(random_contributions(len(names), DRAWS, interval["seed"]), axis=1))
            for kind in (REMOVE, KEEP):
                for count in range(1, len(names)):
                    asked = keys(np.array([curve_coalition(order, kind, count) for order in orders]))
                    found = [values[places[key]] for key in asked if key in places]
                    if found:
                        mean = np.mean([spread.around(seeds) for seeds in found], axis=0).tolist()
                        facts = [kind, count / len(names), count]
                        rows.append([estimator, behaviour, *facts, *mean, trainer, _count(found[0])])
        rows += _ends(records, behaviour, trainer, interval)
    return pd.DataFrame(rows, columns=COLUMNS)


def measure_deletion(
    records: Records, curve: pd.DataFrame, asked: Sequence[tuple[str, str, float]], start: int, interval: Interval
) -> pd.DataFrame:
    """Return the curves that members were trained for; see :func:`read_deletion`.

    Args:
        curve: columns ``coalition, seed, trainer, behaviour, value``.
        asked: as of :func:`choose_curves`; ``start`` is the number of the first coalition.
    """
    rows: list[list[object]] = []
    groups = curve.groupby(["behaviour", "trainer"])
    for (behaviour, trainer), part in groups:
        table = part.pivot(index="coalition", columns="seed", values="value")
        noise = (
            seed_noise(table.to_numpy()) if table.shape[1] > 1 else records.member_noise(str(behaviour), str(trainer))
        )
        spread, values = _spread(noise, interval), dict(zip(table.index, table.to_numpy(), strict=True))
        for place, (estimator, kind, share) in enumerate(asked):
            found = values.get(start + place)
            if found is not None:
                players = round(share * len(records.names))
                rows.append([estimator, behaviour, kind, share, players, *spread.around(found), trainer, _count(found)])
        rows += _ends(records, str(behaviour), str(trainer), interval)
    return pd.DataFrame(rows, columns=COLUMNS)


def _ends(records: Records, behaviour: str, trainer: str, interval: Interval) -> list[list[object]]:
    """Return the rows of everyone and of no one."""
    table = records.values(behaviour, trainer, "exact")
    spread, sizes = _spread(records.member_noise(behaviour, trainer), interval), records.member(table.index).sum(axis=1)
    rows: list[list[object]] = []
    for share, size in ((0.0, len(records.names)), (1.0, 0)):
        for place in np.flatnonzero(sizes == size)[:1]:
            found = table.to_numpy()[place]
            removed = len(records.names) - size
            rows.append([WHOLE, behaviour, REMOVE, share, removed, *spread.around(found), trainer, _count(found)])
    return rows


@dataclass(frozen=True)
class _Spread:
    """The mean of a coalition's values and the ends of its interval; ``half`` is half of that of a single value."""

    half: float

    def around(self, seeds: np.ndarray) -> list[float]:
        """Return the mean of the values by seed, NaN where there is none, and the ends of its interval."""
        mean, half = float(np.nanmean(seeds)), self.half / float(np.sqrt(np.isfinite(seeds).sum()))
        return [mean, mean - half, mean + half]


def _count(seeds: np.ndarray) -> int:
    return int(np.isfinite(seeds).sum())


def _spread(noise: float, interval: Interval) -> _Spread:
    """Return the spread of a single value whose seeds have this standard deviation."""
    return _Spread(noise * float(ndtri(0.5 + interval["confidence"] / 2)))


@dataclass(frozen=True)
class CurveFiles:
    """The members that curves were trained for: their table, and the coalitions that were asked for.

    Attributes:
        members: columns ``coalition, seed, trainer, behaviour, value``.
        asked: as of :func:`choose_curves`; ``start`` is the number of the first coalition.
    """

    members: Path
    asked: Sequence[tuple[str, str, float]]
    start: int


def evaluate_deletion(
    records: Records, contributions: Path, curves: CurveFiles | None, interval: Interval, out: Path
) -> None:
    """Write the curves that members were trained for, or without any those of an exact game."""
    if curves is None:
        table = read_deletion(records, read_contributions(contributions), interval)
    else:
        table = measure_deletion(records, read_csv(curves.members), curves.asked, curves.start, interval)
    write_csv(table, out)
