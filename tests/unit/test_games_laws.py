"""The laws that coalitions are drawn from."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dmin.games.coalitions import BlockSettings, Coalitions, draw_coalitions
from dmin.games.laws import LAWS, RANDOM, Law, importance, keys
from dmin.runtime.errors import UserError


def block(part: str, law: str, start: int, count: int, alpha: float | None = None) -> BlockSettings:
    return {
        "part": part,
        "law": law,
        "start": start,
        "count": count,
        "alpha": alpha,
        "stratified": False,
        "avoids": part == "fit",
    }


@pytest.mark.parametrize("name", LAWS)
def test_coalitions_differ_follow_the_law_and_exclude_the_ends(name: str) -> None:
    law = Law(name, 7, seed=1, size=3)
    member = law.draw(20) if name in RANDOM else law.draw()
    assert len(set(keys(member))) == len(member)
    assert law.contains(member).all()
    sizes = member.sum(axis=1)
    if name in ("all", "ends"):
        assert sizes[0] == 0 and sizes[1] == 7 and len(member) == law.support == {"all": 128, "ends": 2}[name]
    else:
        assert ((sizes > 0) & (sizes < 7)).all()
        assert not law.contains(np.array([[False] * 7, [True] * 7])).any()


@pytest.mark.parametrize("name", RANDOM)
def test_more_coalitions_keep_the_first_and_a_seed_gives_its_own(name: str) -> None:
    law = Law(name, 9, seed=4, size=4)
    assert np.array_equal(law.draw(30)[:11], law.draw(11))
    assert np.array_equal(law.draw(30), Law(name, 9, seed=4, size=4).draw(30))
    assert not np.array_equal(law.draw(30), Law(name, 9, seed=5, size=4).draw(30))


def test_every_coalition_stands_where_its_number_says() -> None:
    member = Law("all", 3).draw()
    assert member.astype(int).tolist()[:4] == [[0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0]]
    for number in range(2, 8):
        assert [bool((number - 1) >> player & 1) for player in range(3)] == member[number].tolist()


def test_sizes_follow_the_shapley_kernel_and_coin_flips() -> None:
    kernel = np.array([0, 1 / 5, 1 / 8, 1 / 9, 1 / 8, 1 / 5, 0])
    assert np.allclose(Law("shapley", 6).sizes, kernel / kernel.sum())
    flips = np.array([0, 6, 15, 20, 15, 6, 0]) / 62
    assert np.allclose(Law("uniform", 6).sizes, flips)
    large = Law("shapley", 4000, seed=2)
    assert abs(np.isin(large.draw(400).sum(axis=1), (1, 3999)).mean() - 2 * large.sizes[1]) < 0.05


def test_a_stratified_law_takes_the_same_share_of_every_stratum() -> None:
    law = Law("datamodel", 12, size=6, strata=((0, 1, 2, 3), (4, 5, 6, 7, 8, 9, 10, 11)))
    member = law.draw(20)
    assert (member[:, :4].sum(axis=1) == 2).all() and (member[:, 4:].sum(axis=1) == 4).all()
    assert law.support == math.comb(4, 2) * math.comb(8, 4)


def test_weights_of_all_coalitions_are_those_of_the_target_and_of_few_are_even() -> None:
    law = Law("shapley", 6)
    whole = importance("shapley", law, 62)[1:6]
    kernel = np.array([1 / (5 * 6), 1 / (8 * 15), 1 / (9 * 20), 1 / (8 * 15), 1 / (5 * 6)])
    assert np.allclose(whole, kernel / kernel.max())
    large = importance("shapley", Law("shapley", 2000), 50)[[2, 3, 1000, 1998]]
    assert np.allclose(large, large[0], rtol=1e-2)
    assert np.allclose(importance("uniform", Law("uniform", 6), 62), 1.0)


def test_fit_and_test_share_no_coalition_and_numbers_stay() -> None:
    blocks = [
        block("exact", "ends", 0, 2),
        block("fit", "uniform", 20_000, 30),
        block("test", "datamodel", 1_500_000, 12, 0.5),
    ]
    few, more = (draw_coalitions(6, [*blocks[:1], {**blocks[1], "count": count}, blocks[2]], 42) for count in (30, 45))
    names = [f"p{player}" for player in range(6)]
    parts = {part: set(keys(table[names].to_numpy())) for part, table in few.groupby("part")}
    assert not parts["fit"] & parts["test"]
    assert few["coalition"].tolist() == [0, 1, *range(20_000, 20_030), *range(1_500_000, 1_500_012)]
    kept = more.set_index("coalition").loc[few["coalition"]].reset_index()
    pd.testing.assert_frame_equal(kept[few.columns], few)
    assert (few.loc[few["part"] == "test", names].sum(axis=1) == 3).all()
    assert few.loc[:1, names].sum(axis=1).tolist() == [0, 6]


def test_share_of_players_is_exact() -> None:
    table = draw_coalitions(100, [block("test", "datamodel", 0, 1, 0.29)], 0)
    assert table[[f"p{player}" for player in range(100)]].to_numpy().sum() == 29


@pytest.mark.parametrize(
    ("law", "sentence"),
    [
        (lambda: Law("all", 13), "would train 2\\^13 coalitions; group the samples into 12 players or fewer"),
        (lambda: Law("datamodel", 4, size=4), "takes 4 of 4 players, but excludes the empty and the full coalition"),
        (lambda: Law("datamodel", 4, size=0), "takes 0 of 4 players, but excludes"),
        (lambda: Law("halves", 4), "Law 'halves' is unknown; choose one of datamodel"),
        (lambda: Law("uniform", 1), "A game of 1 player has no coalitions to compare"),
        (lambda: Law("datamodel", 3, size=1, strata=((0,), (1, 2))), "A stratum of 1 players gives 0 of them"),
        (lambda: Law("uniform", 3).draw(7), "has 6 coalitions of 3 players, so 7 different ones cannot be drawn"),
        (
            lambda: Law("uniform", 3).draw(5, keys(Law("add_one_in", 3).draw())),
            "has 6 coalitions of 3 players, of which 3 are held out, so 5",
        ),
    ],
)
def test_what_a_law_cannot_give_is_refused(law: object, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        law()  # type: ignore[operator]


@pytest.mark.fault("a coalition stands in both the fit and the test", "a sentence names the table and the coalition")
def test_a_coalition_of_both_fit_and_test_is_refused(tmp_path: Path) -> None:
    table = draw_coalitions(4, [block("fit", "add_one_in", 0, 4)], 0)
    table.loc[2, ["p0", "p1", "p2", "p3"]] = table.loc[1, ["p0", "p1", "p2", "p3"]]
    table.loc[2, "part"] = "test"
    table.to_parquet(tmp_path / "coalitions.parquet")
    with pytest.raises(UserError, match=r"has the coalition 1 in both the fit and the test"):
        Coalitions.read(tmp_path / "coalitions.parquet")
