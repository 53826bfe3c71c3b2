"""Do members that go on with a trained model do what retrained ones do?"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd

from dmin.evaluation.ranks import spearman_rows
from dmin.games.contributions import find_fits
from dmin.games.records import Records
from dmin.runtime.atomic import write_csv
from dmin.runtime.percentiles import Interval, percentile_interval
from dmin.runtime.readers import read_csv
from dmin.runtime.seeds import derive_seed

log = logging.getLogger(__name__)

COLUMNS = ["behaviour", "trainer", "pearson", "spearman", "low", "high", "members", "steps_ratio", "of"]
RETRAIN = "retrain"
# What agrees, beside estimators.
MEMBERS = "members"
FEWEST = 3


def correlate(left: np.ndarray, right: np.ndarray) -> tuple[float, float]:
    """Return the correlations of Pearson and Spearman of ``[m]`` and ``[m]``; NaN where one is constant or m < 3."""
    if len(left) < FEWEST or np.ptp(left) == 0 or np.ptp(right) == 0:
        return float("nan"), float("nan")
    return float(np.corrcoef(left, right)[0, 1]), float(spearman_rows(left, right))


def pearson_interval(left: np.ndarray, right: np.ndarray, interval: Interval) -> tuple[float, float]:
    """Return the ends of the bootstrap interval of Pearson's correlation, over resampled pairs."""
    if len(left) < FEWEST:
        return float("nan"), float("nan")
    found = np.empty(interval["bootstrap"])
    for number in range(len(found)):
        generator = np.random.default_rng(derive_seed(interval["seed"], "agreement", number))
        rows = generator.integers(0, len(left), len(left))
        found[number] = correlate(left[rows], right[rows])[0]
    known = found[np.isfinite(found)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = percentile_interval(known, interval["confidence"]).tolist()
    return low, high


def find_agreement(records: Records, cost: pd.DataFrame, interval: Interval) -> pd.DataFrame:
    """Return how well every other trainer agrees with retraining; see ``COLUMNS``.

    A row ``of`` members is over the coalitions that both trained, the empty and the full one left out: of the means
    over seeds, with the bootstrap interval of Pearson's correlation; there is none where they share no others. A row of
    an estimator is over its contributions of the players, fitted on the members of each trainer; ``members`` counts
    players, and there is no interval.

    Args:
        cost: columns ``trainer, steps``; ``steps_ratio`` is a trainer's over those of retraining.
    """
    steps = cost.set_index("trainer")["steps"]
    rows = []
    for behaviour in records.behaviours:
        truth = {fit.name: fit for fit in find_fits(records, behaviour, RETRAIN)}
        for trainer in records.trainers:
            if trainer == RETRAIN or RETRAIN not in records.trainers:
                continue
            ratio = float(steps[trainer] / steps[RETRAIN])
            table = records.shared(behaviour, trainer, RETRAIN)
            if len(table):
                left, right = table["reference"].to_numpy(), table["value"].to_numpy()
                ends = pearson_interval(left, right, interval)
                rows.append((behaviour, trainer, *correlate(left, right), *ends, len(table), ratio, MEMBERS))
                log.info("%s, %s: Pearson %.3f over %d members", behaviour, trainer, rows[-1][2], len(table))
            for fit in find_fits(records, behaviour, trainer):
                pair = [found.contributions() for found in (truth.get(fit.name), fit) if found]
                if len(pair) == 2 and pair[0] is not None and pair[1] is not None:
                    gap = (float("nan"),) * 2
                    rows.append((behaviour, trainer, *correlate(pair[0], pair[1]), *gap, len(pair[0]), ratio, fit.name))
    return pd.DataFrame(rows, columns=COLUMNS)


def evaluate_agreement(records: Records, cost: Path, interval: Interval, out: Path) -> None:
    """Write the table of :func:`find_agreement`."""
    write_csv(find_agreement(records, read_csv(cost), interval), out)
