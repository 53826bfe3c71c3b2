"""Estimators of contributions, and exact values."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from scipy.stats import spearmanr

from dmin.catalogue.estimators import ESTIMATORS
from dmin.games.exact import EXACT, complete
from dmin.games.laws import RANDOM, Law, counted, keys, prefixes
from dmin.games.laws import permutations as orders_of
from dmin.games.outcomes import Outcomes
from dmin.games.registry import find_estimator
from dmin.runtime.errors import UserError

N = 6
EFFICIENT = [name for name, entry in ESTIMATORS.items() if entry.efficient]


def play(law: Law, values: np.ndarray, count: int | None = None) -> Outcomes:
    """Return the outcomes of a game whose coalition of bits k is worth ``values[k]``."""
    member = law.draw(count if count or law.name not in RANDOM else law.support)
    places = (member * (1 << np.arange(law.players))).sum(axis=1)
    return Outcomes(law, member, values[places], float(values[0]), float(values[-1]))


def additive() -> tuple[np.ndarray, np.ndarray]:
    """Return the worth of every coalition, and of every player."""
    worth = np.array([3.0, -1.0, 0.5, 0.0, 2.0, 0.5])
    return 10 + counted(range(2**N), N) @ worth, worth


def ridge_regression() -> np.ndarray:
    """Return minus the error, on held-out rows, of the ridge regression on the rows of every coalition: closed form.

    Players 4 and 5 have the same rows; player 3 has rows of zeros, which change nothing.
    """
    generator = np.random.default_rng(7)
    rows, target = generator.normal(size=(N, 4, 3)), generator.normal(size=(N, 4))
    rows[5], target[5] = rows[4], target[4]
    rows[3], target[3] = 0, 0
    held, wanted = generator.normal(size=(20, 3)), generator.normal(size=20)
    values = []
    for member in counted(range(2**N), N):
        x, y = rows[member].reshape(-1, 3), target[member].reshape(-1)
        slopes = np.linalg.solve(x.T @ x + np.eye(3), x.T @ y)
        values.append(-float(np.square(held @ slopes - wanted).mean()))
    return np.array(values)


def by_orders(values: np.ndarray) -> np.ndarray:
    """Return Shapley values as the mean over all orders of the players."""
    found = np.zeros(N)
    for order in permutations(range(N)):
        place = 0
        for player in order:
            found[player] += values[place | 1 << player] - values[place]
            place |= 1 << player
    return found / math.factorial(N)


def by_pairs(values: np.ndarray) -> np.ndarray:
    """Return Banzhaf values as the mean with a player minus the mean without it."""
    member = counted(range(2**N), N)
    return np.array([values[member[:, player]].mean() - values[~member[:, player]].mean() for player in range(N)])


@pytest.mark.parametrize("values", [additive()[0], ridge_regression()], ids=["additive", "ridge regression"])
def test_exact_values_are_recovered(values: np.ndarray) -> None:
    shapley, banzhaf = by_orders(values), by_pairs(values)
    assert np.allclose(EXACT["shapley"](values), shapley, atol=1e-12)
    assert np.allclose(EXACT["banzhaf"](values), banzhaf, atol=1e-12)
    for law in ("all", "shapley"):
        for name in ("shapley", "shapley_by_size"):
            assert abs(find_estimator(name).fit(play(Law(law, N, seed=3), values)) - shapley).max() < 1e-8
    for law in ("all", "uniform"):
        assert abs(find_estimator("banzhaf").fit(play(Law(law, N, seed=3), values)) - banzhaf).max() < 1e-8
    every = play(Law("all", N), values)
    assert np.array_equal(complete(every), values)
    assert abs(find_estimator("exact_shapley").fit(every) - shapley).max() < 1e-12
    assert abs(find_estimator("exact_banzhaf").fit(every) - banzhaf).max() < 1e-12
    without = [63 - (1 << player) for player in range(N)]
    assert np.allclose(find_estimator("leave_one_out").fit(every), values[63] - values[without], atol=1e-12)
    alone = values[1 << np.arange(N)] - values[0]
    assert np.allclose(find_estimator("add_one_in").fit(every), alone, atol=1e-12)
    assert np.allclose(EXACT["leave_one_out"](values), values[63] - values[without])
    assert np.allclose(EXACT["add_one_in"](values), alone)


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_an_additive_game_gives_every_estimator_the_players_worth(name: str) -> None:
    values, worth = additive()
    law = Law(ESTIMATORS[name].laws[0], N, seed=1, size=3)
    found = find_estimator(name).fit(play(law, values, 20 if law.name in RANDOM else None))
    # Coalitions of one size show differences alone.
    expected = worth - worth.mean() if law.name == "datamodel" else worth
    assert np.allclose(found, expected, atol=1e-4 if name == "datamodel" else 1e-8)


@pytest.mark.parametrize("name", EFFICIENT)
@pytest.mark.parametrize("seed", range(3))
def test_contributions_sum_to_what_everyone_adds(name: str, seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=2**N) * 100
    law = Law(ESTIMATORS[name].laws[0], N, seed=seed)
    outcomes = play(law, values, 17 if law.name in RANDOM else None)
    assert abs(find_estimator(name).fit(outcomes).sum() - (values[-1] - values[0])) < 1e-10


def test_symmetric_players_get_the_same_and_a_dummy_nothing() -> None:
    values = ridge_regression()
    indices = {"exact_shapley": "shapley", "shapley": "shapley", "shapley_by_size": "shapley", "banzhaf": "banzhaf"}
    for name, index in indices.items():
        found = find_estimator(name).fit(play(Law("all", N), values))
        assert abs(found[4] - found[5]) < 1e-10 and abs(found[3]) < 1e-10
        assert np.allclose(found, EXACT[index](values), atol=1e-10)


@pytest.mark.parametrize(
    ("name", "law"),
    [("shapley", "shapley"), ("shapley_by_size", "shapley"), ("banzhaf", "uniform"), ("permutation", "permutation")],
)
def test_more_coalitions_come_nearer_without_bias(name: str, law: str) -> None:
    values = np.random.default_rng(0).normal(size=2**N)
    exact = EXACT[ESTIMATORS[name].index](values)
    errors = {}
    for count in (16, 48):
        fits = np.array([find_estimator(name).fit(play(Law(law, N, seed), values, count)) for seed in range(40)])
        errors[count] = float(np.sqrt(np.square(fits - exact).mean()))
        spread = fits.std(axis=0) / np.sqrt(len(fits))
        assert (abs(fits.mean(axis=0) - exact) < 4.5 * spread + 1e-9).all()
    assert errors[48] < 0.6 * errors[16]


@pytest.mark.parametrize("left_out", [2, 12])
@pytest.mark.fault("a member of a random order of players is left out", "the other orders are fitted on")
def test_orders_without_a_member_that_was_left_out_are_kept(left_out: int) -> None:
    values = np.random.default_rng(2).normal(size=2**N)
    whole = play(Law("permutation", N, seed=5), values, 50)
    estimator, kept = find_estimator("permutation"), np.arange(50) != left_out
    assert estimator.parts is not None
    every, found = estimator.parts(whole), replace(whole, member=whole.member[kept], values=whole.values[kept])
    lost = keys(whole.member[left_out : left_out + 1])[0]
    drawn = [keys(prefixes(order)) for order, _ in zip(orders_of(N, 5), every, strict=False)]
    rows = [lost not in coalitions for coalitions in drawn]
    assert 0 < sum(rows) < len(every) and np.array_equal(estimator.parts(found), every[rows])
    left = {key for coalitions, there in zip(drawn, rows, strict=True) if there for key in coalitions}
    assert estimator.used(whole) == 50 and estimator.used(found) == len(left) < 50


def test_without_a_whole_order_permutations_say_what_they_lack() -> None:
    outcomes = play(Law("permutation", N, seed=5), additive()[0], 8)
    with pytest.raises(UserError, match="has 7 coalitions, but each order of 6 players lacks one; draw more"):
        find_estimator("permutation").fit(replace(outcomes, member=outcomes.member[1:], values=outcomes.values[1:]))


def test_the_ridge_is_solved_and_its_lambda_chosen_on_the_fit_alone() -> None:
    generator = np.random.default_rng(1)
    worth = generator.normal(size=300) * (generator.random(300) < 0.1)
    law = Law("datamodel", 300, seed=0, size=150)
    member = law.draw(200)
    values = member @ worth + 0.3 * generator.normal(size=200)
    estimator = find_estimator("datamodel")
    (penalty,) = estimator.choices(Outcomes(law, member, values))
    x = member - member.mean(axis=0)
    penalised = x.T @ x + penalty * np.square(x).sum(axis=1).mean() * np.eye(300)
    primal = np.linalg.solve(penalised, x.T @ (values - values.mean()))
    found = estimator.fit(Outcomes(law, member, values))
    assert np.allclose(found, primal, atol=1e-8)
    held = Law("datamodel", 300, seed=9, size=150).draw(100)
    assert spearmanr(held @ found, held @ worth).statistic > 0.6
    (noisy,) = estimator.choices(Outcomes(law, member, values + 30 * generator.normal(size=200)))
    assert noisy > penalty


@pytest.mark.parametrize(
    ("name", "law", "count", "sentence"),
    [
        ("banzhaf", "uniform", 4, "Estimator 'banzhaf' has 7 unknowns but 6 coalitions and no ridge; draw at least 7"),
        ("shapley", "shapley", 4, "Estimator 'shapley' has 5 unknowns but 4 coalitions"),
        ("shapley_by_size", "shapley", 4, "Estimator 'shapley_by_size' has 5 unknowns but 4 coalitions"),
        ("permutation", "permutation", 4, "has 4 coalitions, fewer than the 5 of one order of 6 players"),
        ("shapley", "datamodel", 10, "cannot be fitted on coalitions of law 'datamodel'; draw one of shapley, all"),
        ("datamodel", "datamodel", 1, "1 coalition is too few to choose a ridge on"),
    ],
)
def test_a_fit_that_cannot_be_is_refused(name: str, law: str, count: int, sentence: str) -> None:
    values = additive()[0]
    with pytest.raises(UserError, match=sentence):
        find_estimator(name).fit(play(Law(law, N, size=3), values, count))


@pytest.mark.fault("the member of nobody, of everybody or of one player is missing", "a sentence says whose to run")
def test_missing_members_are_named() -> None:
    values = additive()[0]
    outcomes = play(Law("shapley", N), values, 20)
    with pytest.raises(UserError, match=r"needs v\(none\), but the empty coalition was not measured"):
        find_estimator("shapley").fit(replace(outcomes, none=float("nan")))
    lone = play(Law("leave_one_out", N), values)
    with pytest.raises(UserError, match="law 'leave_one_out' of player 5"):
        find_estimator("leave_one_out").fit(lone.first(5))
    every = play(Law("all", N), values)
    with pytest.raises(UserError, match="64 coalitions, but 2 were not measured, first that of players 0, 2, 3, 4, 5"):
        find_estimator("exact_shapley").fit(every.first(62))


def test_an_empty_coalition_under_a_law_that_excludes_it_is_refused() -> None:
    outcomes = play(Law("shapley", N), additive()[0], 20)
    member = outcomes.member.copy()
    member[3] = False
    with pytest.raises(UserError, match="A coalition of 0 of 6 players is none of law 'shapley'"):
        find_estimator("shapley").fit(replace(outcomes, member=member))
    with pytest.raises(UserError, match="Estimator 'lasso' is unknown; choose one of add_one_in"):
        find_estimator("lasso")


def test_levels_of_sizes_take_away_what_is_everyone_s() -> None:
    # The first players raise v steeply, whoever they are; what they differ in is small.
    values, worth = additive()
    size = counted(range(2**N), N).sum(axis=1)
    steep = 0.01 * values + 100 * np.sqrt(size)
    truth = 0.01 * worth + 100 * np.sqrt(N) / N
    errors = {
        name: [
            np.linalg.norm(find_estimator(name).fit(play(Law("shapley", N, seed), steep, 32)) - truth)
            for seed in range(5)
        ]
        for name in ("shapley", "shapley_by_size")
    }
    assert max(errors["shapley_by_size"]) < 1e-8 and min(errors["shapley"]) > 1
