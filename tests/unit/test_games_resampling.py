"""Intervals of contributions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fabricated_game import write_game

from dmin.games.laws import RANDOM, Law
from dmin.games.outcomes import Outcomes
from dmin.games.records import Records
from dmin.games.registry import find_estimator
from dmin.games.resampling import Noise, bootstrap_contributions, seed_noise

PLAYERS = 6


def noisy_game(
    law: Law, worth: np.ndarray, seeds: int, end_seeds: int, generator: np.random.Generator
) -> tuple[Outcomes, Noise]:
    """Return the outcomes of an additive game whose trainings have noise of deviation 1, and that of their means.

    The noise is estimated where v(none) and v(all) have as many seeds as other coalitions, else the true one.
    """
    member = law.draw(min(48, law.support) if law.name in RANDOM else None)
    values = member @ worth + generator.normal(size=(seeds, len(member)))
    none, everyone = generator.normal(size=(2, end_seeds)).mean(axis=1).tolist()
    one = seed_noise(values.T) if seeds == end_seeds else 1.0
    noise = Noise(one / np.sqrt(seeds), one / np.sqrt(end_seeds))
    return Outcomes(law, member, values.mean(axis=0), none, everyone + float(worth.sum())), noise


@pytest.mark.parametrize(
    ("name", "law", "seeds", "end_seeds", "trials"),
    [
        ("shapley", "shapley", 1, 1, 40),
        ("shapley_by_size", "shapley", 1, 1, 40),
        ("shapley_by_size", "shapley", 4, 1, 20),
        ("banzhaf", "uniform", 1, 1, 40),
        ("datamodel", "datamodel", 2, 2, 40),
        ("permutation", "permutation", 2, 2, 25),
        ("leave_one_out", "leave_one_out", 3, 3, 200),
        ("leave_one_out", "leave_one_out", 4, 1, 200),
        ("add_one_in", "add_one_in", 4, 1, 200),
        ("exact_shapley", "all", 2, 2, 40),
    ],
)
def test_nominal_95_percent_cover_at_least_90(name: str, law: str, seeds: int, end_seeds: int, trials: int) -> None:
    hits = []
    for trial in range(trials):
        generator = np.random.default_rng([11, trial])
        worth = generator.normal(size=PLAYERS) * 2
        worth[0] = 0
        outcomes, noise = noisy_game(Law(law, PLAYERS, seed=trial, size=3), worth, seeds, end_seeds, generator)
        found = bootstrap_contributions(find_estimator(name), outcomes, noise, 100, trial)
        low, high = np.percentile(found, [2.5, 97.5], axis=0)
        # Coalitions of one size show differences alone.
        truth = worth - worth.mean() if law == "datamodel" else worth
        hits.append((low <= truth) & (truth <= high))
    assert np.mean(hits) >= 0.9
    assert np.mean(hits, axis=0)[0] >= 0.85, "the dummy player gets 0 within its interval"


def test_one_seed_leaves_single_coalitions_without_an_interval() -> None:
    law = Law("leave_one_out", PLAYERS)
    outcomes = Outcomes(law, law.draw(), np.arange(PLAYERS, dtype=float), 0.0, 9.0)
    found = bootstrap_contributions(find_estimator("leave_one_out"), outcomes, Noise(float("nan"), float("nan")), 5, 0)
    assert np.isnan(found).all()


def test_noise_of_seeds_is_pooled_over_coalitions() -> None:
    values = np.array([[1.0, 3.0, np.nan], [5.0, 5.0, 8.0], [2.0, np.nan, np.nan]])
    assert np.isclose(seed_noise(values), np.sqrt((2 + 6) / (1 + 2)))
    assert np.isnan(seed_noise(np.array([[1.0], [2.0]])))


def test_resampled_contributions_of_shapley_stay_efficient_and_hang_on_the_seed_alone() -> None:
    law = Law("shapley", PLAYERS, seed=2)
    member = law.draw(30)
    outcomes = Outcomes(law, member, np.random.default_rng(0).normal(size=30), 0.0, 6.0)
    estimator, noise = find_estimator("shapley"), Noise(0.0, 0.0)
    one, again, other = (bootstrap_contributions(estimator, outcomes, noise, 4, seed) for seed in (0, 0, 1))
    assert np.array_equal(one, again) and not np.array_equal(one, other)
    assert np.allclose(one.sum(axis=1), 6.0, atol=1e-10)


def test_resampled_datamodels_are_those_of_the_rows() -> None:
    law = Law("datamodel", 40, seed=2, size=20)
    member = law.draw(24)
    outcomes = Outcomes(law, member, member @ np.random.default_rng(1).normal(size=40))
    estimator, rows = find_estimator("datamodel"), np.random.default_rng(0).integers(0, 24, 24)
    (penalty,) = estimator.choices(outcomes)
    plain = Outcomes(law, member[rows], outcomes.values[rows])
    assert np.allclose(
        estimator.contributions(outcomes.resample(rows), penalty), estimator.contributions(plain, penalty), atol=1e-5
    )


def test_ends_have_the_noise_of_their_own_seeds(tmp_path: Path) -> None:
    files = write_game(tmp_path)
    table = pd.read_csv(files.members)
    fitted = table[(table["trainer"] == "sparsified") & (table["coalition"] >= 10_000)]
    more = [fitted.assign(seed=seed, value=fitted["value"] + 0.1 * seed) for seed in (1, 2, 3)]
    pd.concat([table, *more]).to_csv(files.members, index=False)
    records = Records.read(files)
    one = records.member_noise("quality", "sparsified")
    noise = records.noise("quality", "sparsified", "shapley")
    assert np.isclose(one, np.std([0, 0.1, 0.2, 0.3], ddof=1)) and np.isclose(noise.values, one / 2)
    assert noise.ends == one == records.noise("quality", "sparsified", "all").values
