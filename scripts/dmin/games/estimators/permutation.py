"""Shapley values as the mean over random orders of what each player adds to those before it."""

from __future__ import annotations

from collections.abc import Iterator
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
    rows = []
    for order, values in _orders(outcomes):
        row = np.empty(outcomes.players)
        row[order] = np.diff([outcomes.none, *values, outcomes.all])
        rows.append(row)
    if not rows:
        n, count = outcomes.players, len(outcomes.values)
        few = f"fewer than the {n - 1} of one order of {n} players; draw at least {n - 1}"
        lost = f"but each order of {n} players lacks one; draw more, or leave out fewer members"
        raise UserError(f"Estimator 'permutation' has {count} coalitions, {few if count < n - 1 else lost}.")
    return np.array(rows)


def used(outcomes: Outcomes) -> int:
    """Return how many coalitions the orders of :func:`parts` have."""
    return len({key for order, _ in _orders(outcomes) for key in keys(prefixes(order))})


def _orders(outcomes: Outcomes) -> Iterator[tuple[np.ndarray, list[float]]]:
    """Yield each order whose coalitions were all measured, with the values of these.

    An order may lack a coalition that was left out, or that a test holds: then the next is asked. The first that lacks
    one after all coalitions were met is beyond what was drawn.
    """
    found, left = outcomes.table(), set(keys(outcomes.member))
    for order in islice(permutations(outcomes.players, outcomes.law.seed), len(outcomes.values)):
        coalitions = keys(prefixes(order))
        left.difference_update(coalitions)
        values = [found[key] for key in coalitions if key in found]
        if len(values) == len(coalitions):
            yield order, values
        elif not left:
            return


def contributions(outcomes: Outcomes) -> np.ndarray:
    """Return the contributions ``[n]``.

    Raises:
        UserError: as :func:`parts`.
    """
    mean: np.ndarray = parts(outcomes).mean(axis=0)
    return mean
