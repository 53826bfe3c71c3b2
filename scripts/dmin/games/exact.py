"""Exact values of a game all of whose coalitions are known."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from dmin.games.laws import counted, keys
from dmin.games.outcomes import Outcomes
from dmin.runtime.errors import UserError


def complete(outcomes: Outcomes) -> np.ndarray:
    """Return the values ``[2^n]`` of all coalitions; bit i of a place is set where player i is in.

    Raises:
        UserError: one is missing.
    """
    n = outcomes.players
    found = outcomes.table()
    every = counted(range(2**n), n)
    missing = [row for row, key in zip(every, keys(every), strict=True) if key not in found]
    if missing:
        names = ", ".join(map(str, np.flatnonzero(missing[0]))) or "no one"
        raise UserError(
            f"An exact value needs all {2**n} coalitions, but {len(missing)} were not measured, first that of players "
            f"{names}; run the members that are missing."
        )
    return np.array([found[key] for key in keys(every)])


def shapley_values(values: np.ndarray) -> np.ndarray:
    """Return ``sum_S |S|! (n - |S| - 1)! / n! (v(S + i) - v(S))`` over S without i, ``[n]``; source: Shapley 1953.

    Args:
        values: ``[2^n]``; see :func:`complete`.
    """
    n = _players(values)
    weights = np.array([1 / (n * math.comb(n - 1, size)) for size in range(n)])
    return _sum_marginals(values, lambda sizes: weights[sizes])


def banzhaf_values(values: np.ndarray) -> np.ndarray:
    """Return the mean of ``v(S + i) - v(S)`` over all S without i, ``[n]``; source: Banzhaf 1965."""
    share = 2.0 ** (1 - _players(values))
    return _sum_marginals(values, lambda sizes: np.full(len(sizes), share))


def leave_one_out_values(values: np.ndarray) -> np.ndarray:
    """Return v(all) - v(all without i), ``[n]``."""
    last = len(values) - 1
    return values[last] - values[last - (1 << np.arange(_players(values)))]


def add_one_in_values(values: np.ndarray) -> np.ndarray:
    """Return v(i alone) - v(none), ``[n]``."""
    return values[1 << np.arange(_players(values))] - values[0]


EXACT: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "shapley": shapley_values,
    "banzhaf": banzhaf_values,
    "leave_one_out": leave_one_out_values,
    "add_one_in": add_one_in_values,
}


def _players(values: np.ndarray) -> int:
    return len(values).bit_length() - 1


def _sum_marginals(values: np.ndarray, weigh: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    places = np.arange(len(values))
    sizes = np.array([place.bit_count() for place in range(len(values))])
    found = np.empty(_players(values))
    for player in range(len(found)):
        without = places[(places >> player) & 1 == 0]
        found[player] = math.fsum(weigh(sizes[without]) * (values[without | (1 << player)] - values[without]))
    return found
