"""Least squares under the Shapley kernel, as the estimators of Shapley values share it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import helmert

from dmin.games.linear import least_squares, require_rows
from dmin.games.outcomes import Outcomes


@dataclass(frozen=True)
class KernelProblem:
    """What is left to fit once everyone has an equal share of v(all) - v(none): parts that sum to zero.

    So the constraint on the sum is solved for, not penalised, and the empty and the full coalition hold by it.

    Attributes:
        equal: the share of each, ``[n]``.
        sizes: of the other coalitions, ``[m]``.
        design: who is in them, in a basis ``[n, n - 1]`` of what sums to zero, ``[m, n - 1]``.
        rest: what equal shares leave of their values, ``[m]``.
        weights: of the kernel, by coalition, ``[m]``.
    """

    equal: np.ndarray
    sizes: np.ndarray
    design: np.ndarray
    rest: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(cls, outcomes: Outcomes, estimator: str) -> KernelProblem:
        """Return the problem of an estimator.

        Raises:
            UserError: there are fewer coalitions than free unknowns, n - 1.
        """
        n = outcomes.players
        require_rows(outcomes.drawn or len(outcomes.values), n - 1, estimator)
        equal = np.full(n, outcomes.gain / n)
        inner = (outcomes.member.sum(axis=1) % n) != 0
        member, sizes = outcomes.member[inner].astype(float), outcomes.member[inner].sum(axis=1)
        rest = outcomes.values[inner] - outcomes.none - member @ equal
        return cls(equal, sizes, member @ helmert(n).T, rest, outcomes.weights("shapley")[sizes])

    def solve(self) -> np.ndarray:
        """Return the contributions ``[n]``."""
        fitted = least_squares(self.design, self.rest, self.weights)
        found: np.ndarray = self.equal + helmert(len(self.equal)).T @ fitted
        return found
