"""Intervals cover what they say, by simulation."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import binomtest, ttest_1samp

from dmin.evaluation.intervals import combined_interval, mean_interval, rate_interval, shifted_interval
from dmin.evaluation.lds import lds_ends, resampled_lds
from dmin.evaluation.pooled_lds import JudgedRun, pooled_lds, resampled_pooled_lds
from dmin.evaluation.ranks import spearman_rows

DRAWS = 600


def covered(truth: float, draw: Callable[[np.random.Generator], tuple[float, float]], draws: int = DRAWS) -> float:
    """Return how often the interval of a drawn sample holds the truth."""
    generator = np.random.default_rng(0)
    ends = np.array([draw(generator) for _ in range(draws)])
    return float(np.mean((ends[:, 0] <= truth) & (truth <= ends[:, 1])))


def shares(generator: np.random.Generator, rate: float, alike: float, k: int, queries: int) -> np.ndarray:
    """Draw each query's share of ``k`` hits; ``alike`` is the correlation between the hits of a query."""
    mass = (1 - alike) / alike if alike else np.inf
    each = generator.beta(rate * mass, (1 - rate) * mass, queries) if alike else np.full(queries, rate)
    return generator.binomial(k, each) / k


@pytest.mark.fault(
    "detection at k of 20 queries", "its interval covers 93 % or more at a nominal 95 %, and is never [1, 1]"
)
@pytest.mark.parametrize(("k", "alike"), list(itertools.product([5, 50], [0, 0.1, 0.5, 0.9])))
def test_rates_of_twenty_queries_are_covered(k: int, alike: float) -> None:
    for rate in (0.1, 0.5, 0.94, 0.98):
        found = covered(rate, lambda g, p=rate: rate_interval([shares(g, p, alike, k, 20)], 0.95))  # type: ignore[misc]
        assert found >= 0.93, (rate, found)


def test_mean_over_uneven_subsets_is_covered() -> None:
    sizes, rates = [20, 20, 6, 2, 1], [0.98, 0.9, 0.7, 0.5, 0.95]
    for alike in (0.1, 0.6):
        found = covered(
            float(np.mean(rates)),
            lambda g, r=alike: rate_interval(  # type: ignore[misc]
                [shares(g, p, r, 10, n) for n, p in zip(sizes, rates, strict=True)], 0.95
            ),
        )
        assert found >= 0.93


@pytest.mark.parametrize("hits", [0, 1, 7, 19, 20])
def test_single_hits_have_the_interval_of_wilson(hits: int) -> None:
    wilson = binomtest(hits, 20).proportion_ci(0.9, method="wilson")
    found = rate_interval([np.repeat([1.0, 0.0], [hits, 20 - hits])], 0.9)
    assert found == pytest.approx((wilson.low, wilson.high), abs=1e-12)


def test_hits_that_spread_less_than_single_trials_narrow_the_interval() -> None:
    generator = np.random.default_rng(1)
    spread, alike = (shares(generator, 0.5, together, 50, 20) for together in (0, 0.98))
    narrow, wide = (np.ptp(rate_interval([values], 0.95)) for values in (spread, alike))
    assert narrow < 0.6 * wide and wide == pytest.approx(np.ptp(rate_interval([alike.round()], 0.95)), rel=0.05)


def test_mean_of_twelve_distances_is_covered() -> None:
    found = covered(float(np.exp(0.045)), lambda g: mean_interval(np.exp(0.3 * g.standard_normal(12)), 0.95), 2000)
    assert found >= 0.93
    paired = covered(0.0, lambda g: mean_interval(g.standard_normal(6), 0.95), 2000)
    assert paired >= 0.93


def test_interval_of_a_mean_is_that_of_scipy() -> None:
    values = np.random.default_rng(3).standard_normal(7)
    wanted = ttest_1samp(values, 0).confidence_interval(0.9)
    assert mean_interval(values, 0.9) == pytest.approx((wanted.low, wanted.high))
    assert np.isnan(mean_interval(values[:1], 0.9)).all()


def test_error_of_few_seeds_and_many_noises_is_covered() -> None:
    def draw(generator: np.random.Generator, by_seed: float) -> tuple[float, float]:
        noises = generator.standard_normal(100)
        cells = by_seed * generator.standard_normal((3, 1)) + noises + generator.standard_normal((3, 100))
        by_noise = cells.mean(axis=0).var(ddof=1) / 100
        sources = [(by_noise, 99), (cells.mean(axis=1).var(ddof=1) / 3, 2)]
        return combined_interval(float(cells.mean()), sources, 0.95)

    for by_seed in (0.0, 0.1, 1.0):
        assert covered(0.0, lambda g, s=by_seed: draw(g, s), 1000) >= 0.93  # type: ignore[misc]


def test_one_source_is_students_interval_and_none_is_a_point() -> None:
    values = np.random.default_rng(4).standard_normal(9)
    one = combined_interval(float(values.mean()), [(values.var(ddof=1) / 9, 8)], 0.9)
    assert one == pytest.approx(mean_interval(values, 0.9))
    assert combined_interval(2.0, [(0.0, 3), (0.0, 2)], 0.9) == (2.0, 2.0)


def test_shift_moves_the_percentiles_to_the_estimate() -> None:
    resamples = np.random.default_rng(5).standard_normal((400, 2)) - 3
    low, high = shifted_interval(resamples, np.array([1.0, 2.0]), 0.9)
    assert (low + high) / 2 == pytest.approx([1, 2], abs=0.2) and high - low == pytest.approx([3.29] * 2, rel=0.15)


def test_lds_is_covered() -> None:
    def world(generator: np.random.Generator, queries: int, sets: int) -> tuple[np.ndarray, np.ndarray]:
        # Queries share a part of what a set does to them.
        left, noise = (
            0.8 * generator.standard_normal((queries, sets)) + 0.6 * generator.standard_normal(sets) for _ in range(2)
        )
        return left, 0.8 * left + 0.6 * noise

    def draw(generator: np.random.Generator) -> tuple[float, float]:
        left, right = world(generator, 24, 20)
        resamples = resampled_lds(left, right, 100, int(generator.integers(1 << 30)))
        return lds_ends(resamples, float(spearman_rows(left, right).mean()), 0.95)

    truth = float(spearman_rows(*world(np.random.default_rng(9), 300, 2000)).mean())
    assert covered(truth, draw, 100) >= 0.93


@pytest.mark.fault(
    "the pooled difference of two methods' LDS",
    "its interval over sets and queries covers 93 % or more at a nominal 95 %",
)
def test_pooled_difference_of_lds_is_covered() -> None:
    methods, quality = ["one", "two"], (0.8, 0.4)

    def world(generator: np.random.Generator, queries: int, sets: int) -> list[JudgedRun]:
        runs = []
        for bank in "ab":
            # Queries share a part of what a set does to them, and so do both methods' errors.
            shared = generator.standard_normal(sets)
            target = 0.8 * generator.standard_normal((queries, sets)) + 0.6 * shared
            error = 0.8 * generator.standard_normal((queries, sets)) + 0.6 * generator.standard_normal(sets)
            predicted = {
                name: share * target + (1 - share) * error for name, share in zip(methods, quality, strict=True)
            }
            runs.append(JudgedRun(bank, target, predicted))
        return runs

    def difference(runs: list[JudgedRun]) -> float:
        one, two = pooled_lds(runs, methods)
        return float(one - two)

    def draw(generator: np.random.Generator) -> tuple[float, float]:
        runs = world(generator, 10, 20)
        drawn = resampled_pooled_lds(runs, methods, 60, int(generator.integers(1 << 30)))
        low, high = shifted_interval(drawn[:, 0] - drawn[:, 1], difference(runs), 0.95)
        return float(low), float(high)

    truth = difference(world(np.random.default_rng(9), 200, 2000))
    assert covered(truth, draw, 100) >= 0.93
