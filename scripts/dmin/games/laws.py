"""Which coalitions of players are trained on: the laws that they are drawn from."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count
from typing import Literal

import numpy as np
from scipy.optimize import brentq
from scipy.special import gammaln

from dmin.runtime.errors import UserError
from dmin.runtime.seeds import derive_seed

# Every coalition of as many players can be trained.
MOST_PLAYERS_OF_ALL = 12
# Laws that draw at random; the others name their coalitions.
RANDOM = ("datamodel", "uniform", "shapley", "permutation")
LAWS = (*RANDOM, "leave_one_out", "add_one_in", "all", "ends")


@dataclass(frozen=True)
class Law:
    """A distribution of coalitions of ``players``. None but ``all`` and ``ends`` gives the empty and the full one.

    ``datamodel`` holds exactly ``size`` players; ``uniform`` each with probability 1/2; ``shapley`` s of them with
    probability proportional to (n - 1) / (s (n - s)), then any s; ``permutation`` the first 1, ..., n - 1 of one random
    order after another. ``leave_one_out`` lacks each player in turn, ``add_one_in`` holds each alone. ``ends`` are no
    one and everyone; ``all`` has every other coalition after them.

    Attributes:
        seed: of random laws; a fit and its test differ by it.
        size: players in a coalition of ``datamodel``.
        strata: numbers of players, of each of which ``datamodel`` takes the same share.
    """

    name: str
    players: int
    seed: int = 0
    size: int = 0
    strata: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        if self.name not in LAWS:
            raise UserError(f"Law '{self.name}' is unknown; choose one of {', '.join(LAWS)}.")
        if self.players < 2:
            raise UserError(f"A game of {self.players} player has no coalitions to compare; give it two or more.")
        if self.name == "all" and self.players > MOST_PLAYERS_OF_ALL:
            raise UserError(
                f"Law 'all' of {self.players} players would train 2^{self.players} coalitions; group the samples into "
                f"{MOST_PLAYERS_OF_ALL} players or fewer, or draw from the law shapley."
            )
        if self.name == "datamodel" and not 0 < self.size < self.players:
            raise UserError(
                f"Law 'datamodel' takes {self.size} of {self.players} players, but excludes the empty and the full "
                "coalition; change alpha."
            )
        for stratum in self.strata:
            if not 0 < self._share(stratum) < len(stratum):
                raise UserError(
                    f"A stratum of {len(stratum)} players gives {self._share(stratum)} of them to a coalition, which "
                    "tells them apart from nobody; give it more players, change alpha or set stratified to false."
                )

    def _share(self, stratum: Sequence[int]) -> int:
        return self.size * len(stratum) // self.players

    @property
    def support(self) -> int:
        """How many coalitions the law can give."""
        if self.name == "datamodel":
            parts = [(len(stratum), self._share(stratum)) for stratum in self.strata] or [(self.players, self.size)]
            return math.prod(math.comb(*part) for part in parts)
        if self.name in ("leave_one_out", "add_one_in"):
            return self.players
        return {"ends": 2, "all": 2**self.players}.get(self.name, 2**self.players - 2)

    @property
    def sizes(self) -> np.ndarray:
        """Probability ``[n + 1]`` of 0..n players, under datamodel, shapley, or where coalitions are equally likely."""
        n = self.players
        sizes = np.arange(n + 1)
        if self.name == "datamodel":
            return (sizes == self.size).astype(float)
        inner = (sizes > 0) & (sizes < n)
        if self.name in ("uniform", "all"):
            log = _log_choose(n)
            values = np.where(inner, np.exp(log - log.max()), 0.0)
        else:
            values = np.divide(1.0, sizes * (n - sizes), out=np.zeros(n + 1), where=inner)
        return values / values.sum()

    def contains(self, member: np.ndarray) -> np.ndarray:
        """Return which coalitions ``[m, n]`` the law can give, boolean ``[m]``."""
        sizes = member.sum(axis=1)
        if self.name == "all":
            return np.ones(len(member), dtype=bool)
        if self.name == "datamodel":
            return (sizes > 0) & (sizes < self.players) if self.strata else sizes == self.size
        if self.name in ("leave_one_out", "add_one_in"):
            return sizes == (1 if self.name == "add_one_in" else self.players - 1)
        inner = (sizes > 0) & (sizes < self.players)
        return ~inner if self.name == "ends" else inner

    def _draws(self) -> Iterator[np.ndarray]:
        """Yield coalitions, repeats among them; without end for random laws."""
        n = self.players
        if self.name in ("all", "ends"):
            yield from (np.zeros(n, dtype=bool), np.ones(n, dtype=bool))
            yield from counted(range(1, 2**n - 1) if self.name == "all" else range(0), n)
        elif self.name in ("leave_one_out", "add_one_in"):
            yield from np.eye(n, dtype=bool) ^ (self.name == "leave_one_out")
        elif self.name == "permutation":
            for order in permutations(n, self.seed):
                yield from prefixes(order)
        else:
            parts = [(np.array(stratum), self._share(stratum)) for stratum in self.strata]
            sizes = self.sizes
            for number in count():
                generator = np.random.default_rng(derive_seed(self.seed, "coalition", self.name, number))
                coalition = np.zeros(n, dtype=bool)
                for players, size in parts or [(np.arange(n), int(generator.choice(n + 1, p=sizes)))]:
                    coalition[generator.choice(players, size, replace=False)] = True
                yield coalition

    def draw(self, wanted: int | None = None, avoid: Collection[bytes] = ()) -> np.ndarray:
        """Return ``wanted`` different coalitions, boolean ``[wanted, n]``, true where a player is in.

        More of a law keep the first ones.

        Args:
            wanted: by default all, of a law that names them.
            avoid: coalitions as :func:`keys` gives them, which are passed over.

        Raises:
            UserError: the law has fewer coalitions.
        """
        seen = set(avoid)
        held = int(self.contains(_coalitions(seen, self.players)).sum()) if seen else 0
        if wanted is None:
            if self.name in RANDOM:
                raise ValueError(f"Law {self.name} draws without end; say how many coalitions.")
            wanted = self.support - held
        if wanted > self.support - held:
            kept = f", of which {held} are held out" if held else ""
            raise UserError(
                f"Law '{self.name}' has {self.support} coalitions of {self.players} players{kept}, so {wanted} "
                "different ones cannot be drawn; ask for fewer or make more players."
            )
        rows: list[np.ndarray] = []
        for coalition in self._draws():
            if len(rows) == wanted:
                break
            key = keys(coalition[None])[0]
            if key not in seen:
                seen.add(key)
                rows.append(coalition)
        return np.array(rows, dtype=bool).reshape(len(rows), self.players)


def keys(member: np.ndarray) -> list[bytes]:
    """Return a key for each coalition of boolean ``[m, n]``; equal coalitions have equal keys."""
    return [row.tobytes() for row in np.packbits(member, axis=1)]


def permutations(players: int, seed: int) -> Iterator[np.ndarray]:
    """Yield random orders of the players, without end."""
    for number in count():
        yield np.random.default_rng(derive_seed(seed, "order", number)).permutation(players)


def prefixes(order: np.ndarray) -> np.ndarray:
    """Return the coalitions of the first 1, ..., n - 1 players of an order, boolean ``[n - 1, n]``."""
    n = len(order)
    member = np.zeros((n - 1, n), dtype=bool)
    member[:, order] = np.tri(n - 1, n, dtype=bool)
    return member


def log_inclusion(law: Law, drawn: int) -> np.ndarray:
    """Return the log probability ``[n + 1]`` that a coalition of each size is among ``drawn`` different ones of a law.

    Different ones are what ``m`` independent draws hold, of which a coalition of probability p is one with probability
    1 - (1 - p)^m; ``m`` is such that ``drawn`` are expected. 0 where all are drawn; -inf for sizes that the law never
    gives.
    """
    some = law.sizes > 0
    log = np.log(law.sizes, where=some, out=np.full(law.players + 1, -np.inf)) - _log_choose(law.players)
    if law.name == "all" or drawn >= law.support:
        return np.where(some, 0.0, -np.inf)
    one = np.minimum(np.exp(log), 1 - 1e-16)

    def per_probability(draws: float) -> np.ndarray:
        # Where p is too small for a float, every draw is a new coalition.
        return np.divide(-np.expm1(draws * np.log1p(-one)), one, out=np.full_like(one, draws), where=one > 1e-290)

    def excess(log_draws: float) -> float:
        return float((law.sizes * per_probability(math.exp(log_draws))).sum()) - drawn

    draws = math.exp(brentq(excess, math.log(0.5), math.log(1e9 + drawn)))
    result: np.ndarray = log + np.log(per_probability(draws))
    return result


@cache
def importance(target: Literal["shapley", "uniform"], law: Law, drawn: int) -> np.ndarray:
    """Return weights ``[n + 1]`` by size: with them, ``drawn`` different coalitions of ``law`` stand for ``target``.

    The weight is the probability under the target over :func:`log_inclusion` (Horvitz and Thompson), the largest 1.
    Once a law has given all of its coalitions, it is the target's probability itself, and a weighted sum is exact.
    The empty and the full coalition are given always; of the target ``uniform`` they are as likely as any other, under
    ``shapley`` their weight is 0, for a constraint holds them.
    """
    n = law.players
    found = log_inclusion(law, drawn)
    found[[0, n]] = 0.0
    log = np.zeros(n + 1)
    if target == "shapley":
        sizes = np.arange(1, n)
        log[[0, n]] = -np.inf
        log[1:n] = -np.log(sizes) - np.log(n - sizes) - _log_choose(n)[1:n]
    log = np.where(np.isfinite(found), log - np.where(np.isfinite(found), found, 0.0), -np.inf)
    weights: np.ndarray = np.exp(log - log.max())
    return weights


def _log_choose(players: int) -> np.ndarray:
    sizes = np.arange(players + 1)
    log: np.ndarray = gammaln(players + 1) - gammaln(sizes + 1) - gammaln(players - sizes + 1)
    return log


def counted(numbers: Sequence[int], players: int) -> np.ndarray:
    """Return coalitions by number: player i is in where bit i is set."""
    return ((np.array(numbers, dtype=int)[:, None] >> np.arange(players)) & 1).astype(bool)


def _coalitions(found: Collection[bytes], players: int) -> np.ndarray:
    packed = np.frombuffer(b"".join(sorted(found)), dtype=np.uint8).reshape(len(found), -1)
    return np.unpackbits(packed, axis=1, count=players).astype(bool)
