"""Shapley values as the mean over random orders of what each player adds to those before it."""

from __future__ import annotations

from itertools import islice

import numpy as np

from dmin.games.laws import keys, permutations, prefixes
from dmin.games.outcomes import Outcomes
from dmin.runtime.errors import UserError

ESTIMATOR = {
    "laws": ("permutation",),
    "index": "shapley",
    "resamples": "permutations",
    "unknowns": (1, -1),
    "ends": True,
    "efficient": True,
    "summary": "The mean over random orders of what the player adds to those before it.",
    "formula": "`mean over orders of v(before i, and i) - v(before i)`",
    "source": "Castro et al. 2009; Ghorbani and Zou 2019",
    "label": "Permutations",
    "look": ("#56B4E9", "X", "dashed"),
}


def parts(outcomes: Outcomes) -> np.ndarray:
    """Return what every player adds in each order whose coalitions were all measured, ``[orders, n]``.

    Raises:
        UserError: there is no such order.
    """
    n = outcomes.players
    found = outcomes.table()
    rows = []
    for order in islice(permutations(n, outcomes.law.seed), len(outcomes.values)):
        values = [found.get(key) for key in keys(prefixes(order))]
        if None in values:
            break
        row = np.empty(n)
        row[order] = np.diff([outcomes.none, *values, outcomes.all])
        rows.append(row)
    if not rows:
        raise UserError(
            f"Estimator 'permutation' has {len(outcomes.values)} coalitions, fewer than the {n - 1} of one order of "
            f"{n} players; draw at least {n - 1}."
        )
    return np.array(rows)


def contributions(outcomes: Outcomes) -> np.ndarray:
    """Return the contributions ``[n]``.

    Raises:
        UserError: as :func:`parts`.
    """
    mean: np.ndarray = parts(outcomes).mean(axis=0)
    return mean
