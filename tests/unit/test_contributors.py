"""The tables of contributors: contributions, agreement, LDS and exact games."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fabricated_game import COST, INTERVAL, PLAYERS, WORTH, read_game, write_game, write_local_scores

from dmin.attribution.score_matrix import ScoreMatrix
from dmin.evaluation import contributor_lds, exact_games
from dmin.evaluation.contributor_lds import evaluate_contributor_lds, find_lds
from dmin.evaluation.exact_games import compare_exact, evaluate_exact, relative_error
from dmin.evaluation.fit_cost import FitCost
from dmin.evaluation.member_agreement import evaluate_agreement, find_agreement
from dmin.games.baselines import aggregate_scores
from dmin.games.contributions import fit_contributions, write_contributions
from dmin.games.laws import Law, keys
from dmin.games.records import Records
from dmin.runtime.errors import UserError

# Shapley values of the fabricated game: the worth of each, and half of what the first two add together.
SHAPLEY = WORTH + np.array([0.5, 0.5, 0, 0, 0, 0])
COSTS = pd.DataFrame(COST, columns=["trainer", "steps", "seconds", "compute"])
PAID = FitCost({"retrain": 1.0, "sparsified": 0.05, "pruning": 0.6}, "steps")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("game")


@pytest.fixture(scope="module")
def records(folder: Path) -> Records:
    return read_game(folder, ("shapley", "datamodel", "uniform", "permutation"))


@pytest.fixture(scope="module")
def contributions(folder: Path, records: Records) -> pd.DataFrame:
    return fit_contributions(records, {"dmin": write_local_scores(folder / "scores.npy")}, INTERVAL)


def of(table: pd.DataFrame, estimator: str, behaviour: str = "quality") -> pd.DataFrame:
    return table[(table["estimator"] == estimator) & (table["behaviour"] == behaviour)]


def test_every_estimator_is_fitted_on_its_law_and_trainer(contributions: pd.DataFrame) -> None:
    assert list(contributions.columns[:8]) == [
        "estimator", "behaviour", "player", "samples", "value", "low", "high", "share",
    ]  # fmt: skip
    fitted = contributions.query("behaviour == 'quality' and coalitions > 0").set_index("estimator")
    assert {name: tuple(row) for name, row in fitted[["trainer", "law", "coalitions"]].iterrows()} == {
        "add_one_in": ("sparsified", "all", 64),
        "banzhaf": ("sparsified", "uniform", 16),
        "datamodel": ("sparsified", "datamodel", 10),
        "exact_banzhaf": ("retrain", "all", 64),
        "exact_shapley": ("retrain", "all", 64),
        "leave_one_out": ("sparsified", "all", 64),
        "permutation": ("sparsified", "permutation", 5),  # other orders lack one that the test holds
        "shapley": ("sparsified", "shapley", 16),
        "shapley_by_size": ("sparsified", "shapley", 16),
    }
    shown = of(contributions, "shapley").set_index("player")["samples"].items()
    assert list(shown) == [(player, count) for count, player in enumerate(PLAYERS, 1)]


def test_shares_are_of_what_everyone_adds_and_intervals_hold_the_truth(contributions: pd.DataFrame) -> None:
    for estimator in ("shapley", "exact_shapley", "permutation"):
        for behaviour in ("quality", "frechet"):
            rows = of(contributions, estimator, behaviour)
            assert abs(rows["share"].sum() - 1) < 1e-10
            assert (rows["low"] <= rows["value"]).all() and (rows["value"] <= rows["high"]).all()
    exact = of(contributions, "exact_shapley")
    assert np.allclose(exact["value"], SHAPLEY, atol=0.2)
    # Less is better there, and shares are the same all the same.
    assert np.allclose(of(contributions, "exact_shapley", "frechet")["value"], -SHAPLEY, atol=0.3)


def test_baselines_point_where_everyone_moves_the_behaviour(contributions: pd.DataFrame) -> None:
    for behaviour, sign in (("quality", 1), ("frechet", -1)):
        assert (sign * of(contributions, "size", behaviour)["value"]).tolist() == [1, 2, 3, 4, 5, 6]
        local = of(contributions, "dmin_sum", behaviour)
        assert np.allclose(sign * local["value"], WORTH, atol=0.1)
        assert (local["low"] <= local["value"]).all() and (local["value"] <= local["high"]).all()
        assert local["share"].isna().all() and (local["coalitions"] == 0).all()
    assert {"dmin_mean", "dmin_max", "random"} <= set(contributions["estimator"])


def test_scores_are_aggregated_by_player() -> None:
    scores = ScoreMatrix(np.array([[1.0, 2, 5, -1], [0, 0, 3, 4]]), ["q", "r"], ["a", "b", "c", "d"])
    found = aggregate_scores(scores, [["b", "d"], ["a", "c"]])
    assert found["sum"].tolist() == [[1, 6], [4, 3]]
    assert found["mean"].tolist() == [[0.5, 3], [2, 1.5]]
    assert found["max"].tolist() == [[2, 5], [4, 3]]
    with pytest.raises(UserError, match="Training sample 'e' of a player was not scored by the game's run"):
        aggregate_scores(scores, [["a", "e"]])


def test_agreement_is_member_by_member_and_of_the_contributions(folder: Path, records: Records) -> None:
    table = find_agreement(records, COSTS, INTERVAL)
    members = table[(table["behaviour"] == "quality") & (table["of"] == "members")].iloc[0]
    # All 64 coalitions but the ends; those of test and fit are the same ones.
    assert members["members"] == 62 and members["steps_ratio"] == 0.1 and members["trainer"] == "sparsified"
    assert 0.9 < members["low"] < members["pearson"] < members["high"] <= 1
    shapley = table[(table["behaviour"] == "quality") & (table["of"] == "exact_shapley")].iloc[0]
    assert shapley["pearson"] > 0.97 and shapley["members"] == 6 and np.isnan(shapley["low"])
    evaluate_agreement(records, folder / "cost.csv", INTERVAL, folder / "agreement.csv")
    pd.testing.assert_frame_equal(pd.read_csv(folder / "agreement.csv"), table, check_dtype=False)


def test_agreement_is_the_correlation_of_pairs(records: Records) -> None:
    pairs = records.shared("quality", "sparsified", "retrain")
    found = find_agreement(records, COSTS, INTERVAL).set_index(["behaviour", "of"]).loc[("quality", "members")]
    assert np.isclose(found["pearson"], np.corrcoef(pairs["reference"], pairs["value"])[0, 1])
    assert pairs["players"].between(1, 5).all()


def test_lds_is_over_held_out_coalitions_at_every_budget(
    folder: Path, records: Records, contributions: pd.DataFrame
) -> None:
    table = find_lds(records, contributions, PAID, INTERVAL)
    rows = table[(table["estimator"] == "shapley") & (table["behaviour"] == "quality") & (table["size"] == 3)]
    assert rows[["coalitions", "trainer", "tests", "seeds"]].values.tolist() == [
        [8, "sparsified", 8, 2], [16, "sparsified", 8, 2],
    ]  # fmt: skip
    assert np.allclose(rows["compute"], [0.05 * 8 + 0.6, 0.05 * 16 + 0.6])
    assert rows["lds"].iloc[-1] > 0.8 and (rows["ceiling"] > 0.9).all()
    assert (rows["low"] <= rows["lds"]).all() and (rows["lds"] <= rows["high"]).all()
    local = table[(table["estimator"] == "dmin_sum") & (table["size"] == 3)]
    # The direction is right where less is better, too.
    assert (local["lds"] > 0.7).all() and local["compute"].isna().all() and (local["coalitions"] == 0).all()
    assert set(table["size"]) == {3, 4}
    contributions.to_csv(folder / "contributions.csv", index=False)
    cost = FitCost.read(folder / "cost.csv", "steps")
    assert cost == PAID
    evaluate_contributor_lds(records, folder / "contributions.csv", cost, INTERVAL, folder / "lds.csv")
    assert len(pd.read_csv(folder / "lds.csv")) == len(table)


def test_lds_is_spearmans_correlation_with_the_mean_over_seeds(records: Records, contributions: pd.DataFrame) -> None:
    table = records.values("quality", "retrain", "test")
    member = records.member(table.index)
    halves = member.sum(axis=1) == 3
    size = of(contributions, "size")["value"].to_numpy()
    ranks = pd.Series(table.mean(axis=1).to_numpy()[halves]).rank().corr(pd.Series(member[halves] @ size).rank())
    found = find_lds(records, contributions, PAID, INTERVAL)
    row = found[(found["estimator"] == "size") & (found["behaviour"] == "quality") & (found["size"] == 3)]
    assert np.isclose(row["lds"].iloc[0], ranks)


def test_exact_game_judges_every_estimator_over_the_number_of_coalitions(
    folder: Path, records: Records, contributions: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exact_games, "DRAWS", 6)
    exact_games.draw_members.cache_clear()
    table = compare_exact(records, contributions, INTERVAL)
    assert set(table["truth"]) == {"retrain"}
    own = table[(table["behaviour"] == "quality") & (table["trainer"] == "retrain")].set_index(
        ["estimator", "coalitions"]
    )
    assert own.loc[("shapley", 48), "error"] < 0.5 * own.loc[("shapley", 8), "error"]
    assert (
        own.loc[("shapley", 8), "draws"] == 6 and own.loc[("shapley", 8), "low"] <= own.loc[("shapley", 8), "spearman"]
    )
    assert own.loc[("banzhaf", 32), "index"] == "banzhaf" and own.loc[("leave_one_out", 6), "error"] < 1e-9
    assert ("exact_shapley", 64) not in own.index, "the truth is not compared with itself"
    other = table[(table["trainer"] == "sparsified") & (table["estimator"] == "exact_shapley")]
    assert (other["coalitions"] == 64).all() and (other["error"] < 0.3).all()
    for rows in (own.loc["leave_one_out"], own.loc["add_one_in"], other):
        assert (rows["draws"] == 1).all() and rows[["low", "high"]].isna().all(axis=None), "nothing is drawn at random"
    assert table[table["estimator"] == "size"]["error"].isna().all()
    contributions.to_csv(folder / "contributions.csv", index=False)
    evaluate_exact(records, folder / "contributions.csv", INTERVAL, folder / "exact.csv")
    assert pd.read_csv(folder / "exact.csv").shape == table.shape
    assert relative_error(np.array([3.0, 0]), np.array([0.0, 4])) == 5 / 4


@pytest.fixture
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw coalitions and cuts six times."""
    for module in (exact_games, contributor_lds):
        monkeypatch.setattr(module, "DRAWS", 6)
    exact_games.draw_members.cache_clear()


def all_trained(folder: Path, seeds: int, repeated: bool) -> Records:
    """Return a game all of whose coalitions were trained and none drawn for a fit; some again, if ``repeated``."""
    files = write_game(folder, seeds=2)
    table = pd.read_csv(files.members)
    exact = (table["coalition"] < 64) & (table["seed"] < seeds)
    table[exact | (repeated & (table["coalition"] >= 1_000_000))].to_csv(files.members, index=False)
    return Records.read(files)


def test_a_game_of_all_coalitions_is_cut_into_fit_and_test(tmp_path: Path, few_draws: None) -> None:
    records = all_trained(tmp_path, 2, repeated=False)
    contributions = fit_contributions(records, {}, INTERVAL)
    found = find_lds(records, contributions, PAID, INTERVAL)
    table = found[(found["behaviour"] == "quality") & (found["coalitions"] > 0)]
    assert set(table["size"]) == {2, 3, 4} and set(table["trainer"]) == {"retrain", "sparsified"}
    # Half of 15 and of 20 coalitions.
    assert table.groupby("size")["tests"].first().to_dict() == {2: 8, 3: 10, 4: 8} and (table["ceiling"] > 0.9).all()
    shapley = table[(table["estimator"] == "shapley") & (table["size"] == 3)].set_index(["trainer", "coalitions"])
    assert shapley.loc["retrain"].index.tolist() == [6, 8, 12, 16, 24, 32], "36 of 62 are left, 4 are too few"
    assert shapley.loc[("retrain", 32), "lds"] > shapley.loc[("retrain", 6), "lds"] > 0
    # Six retrainings pay for all 32 sparsified coalitions that are left.
    assert (shapley.loc["retrain", "sparsified"] == shapley.loc[("sparsified", 32), "lds"]).all()
    dear = find_lds(records, contributions, FitCost({**PAID.compute, "sparsified": 0.8}, "steps"), INTERVAL)
    dear = dear[(dear["estimator"] == "shapley") & (dear["behaviour"] == "quality") & (dear["size"] == 3)]
    cells = dear.set_index(["trainer", "coalitions"])["sparsified"]
    # Six with two seeds are 12, and 12 x .8 and .6 are 10.2; 16 would be 13.4.
    assert cells["retrain", 6] == shapley.loc[("sparsified", 12), "lds"]
    assert cells["retrain", 8] == shapley.loc[("sparsified", 16), "lds"] and cells["sparsified"].isna().all()


def test_no_estimator_is_fitted_on_what_it_is_judged_by(few_draws: None) -> None:
    member = Law("all", 6).draw()
    held = tuple(frozenset(keys(member[np.random.default_rng(draw).permutation(64)[:25]])) for draw in range(6))
    for name in ("shapley", "datamodel", "banzhaf", "permutation"):
        drawn = exact_games.draw_members(name, 6, 0, held)
        assert len(drawn) == 6
        for (_, coalitions), avoid in zip(drawn, held, strict=True):
            assert len(coalitions) == 32 and not avoid & set(keys(coalitions))


def test_coalitions_trained_again_tell_the_noise_of_all(tmp_path: Path, few_draws: None) -> None:
    alone = all_trained(tmp_path / "alone", 1, repeated=False)
    again = all_trained(tmp_path / "again", 1, repeated=True)
    assert np.isnan(alone.member_noise("quality", "retrain"))
    # 13 coalitions of the test with two seeds each, whose noise is .2.
    assert 0.1 < again.member_noise("quality", "retrain") < 0.3
    shares = [of(fit_contributions(records, {}, INTERVAL), "exact_shapley") for records in (alone, again)]
    assert shares[0]["low"].isna().all() and (shares[1]["low"] < shares[1]["value"]).all()
    assert ((shares[1]["low"] < SHAPLEY) & (shares[1]["high"] > SHAPLEY)).sum() >= 5
    tables = [find_lds(records, fit_contributions(records, {}, INTERVAL), PAID, INTERVAL) for records in (alone, again)]
    assert set(tables[1]["tests"]) == {8, 10}, "what was trained again is no test of its own"
    assert tables[0]["ceiling"].isna().all() and tables[1]["ceiling"].between(0.9, 1).all()


@pytest.mark.fault("a member's behaviour is not finite", "a sentence says which member to exclude")
def test_a_member_without_a_value_is_named(tmp_path: Path) -> None:
    files = write_game(tmp_path)
    table = pd.read_csv(files.members)
    table.loc[5, "value"] = np.nan
    table.to_csv(files.members, index=False)
    row = table.loc[5]
    with pytest.raises(UserError, match=f"add {row['trainer']}/{row['coalition']} to exclude of the game"):
        Records.read(files)


def test_members_that_are_left_out_are_not_missed(tmp_path: Path) -> None:
    files = write_game(tmp_path)
    table = pd.read_csv(files.members)
    table[table["coalition"] != 10_003].to_csv(files.members, index=False)
    rows = of(fit_contributions(Records.read(files), {}, INTERVAL), "shapley")
    assert (rows["coalitions"] == 15).all() and abs(rows["share"].sum() - 1) < 1e-10


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t: t.assign(coalition=t["coalition"].replace(10_003, 77_777)), "has coalition 77777, which"),
        (lambda t: t[t["coalition"] > 1], r"Estimator 'shapley' needs v\(none\), but the empty coalition"),
    ],
)
def test_members_that_cannot_be_used_are_refused(tmp_path: Path, change: object, sentence: str) -> None:
    files = write_game(tmp_path, ("shapley",))
    change(pd.read_csv(files.members)).to_csv(files.members, index=False)  # type: ignore[operator]
    with pytest.raises(UserError, match=sentence):
        records = Records.read(files)
        records.coalitions.facts.loc[records.coalitions.facts["law"] == "all", "law"] = "ends"
        write_contributions(records, {}, INTERVAL, tmp_path / "contributions.csv")


def test_a_game_without_test_or_exact_values_says_so(tmp_path: Path) -> None:
    files = write_game(tmp_path)
    table = pd.read_csv(files.members)
    # One member of each trainer was left out, and all of the test.
    table[(table["coalition"] != 33) & (table["coalition"] < 1_000_000)].to_csv(files.members, index=False)
    records = Records.read(files)
    contributions = fit_contributions(records, {}, INTERVAL)
    names = set(contributions["estimator"])
    assert {"shapley", "datamodel", "leave_one_out"} < names and "exact_shapley" not in names
    with pytest.raises(UserError, match=r"Fewer than 3 held-out coalitions .* raise coalitions.test.count"):
        find_lds(records, contributions, PAID, INTERVAL)
    with pytest.raises(UserError, match=r"so it has no exact values; set coalitions.exact.all to true and train those"):
        compare_exact(records, contributions, INTERVAL)


def test_an_estimator_that_misses_a_member_is_left_out_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = write_game(tmp_path)
    table = pd.read_csv(files.members)
    lone = Records.read(files).coalitions
    number = lone.facts.index[(lone.member.sum(axis=1) == 5) & (lone.facts["part"] == "exact")][0]
    table[table["coalition"] != number].to_csv(files.members, index=False)
    names = set(fit_contributions(Records.read(files), {}, INTERVAL)["estimator"])
    assert "shapley" in names and "add_one_in" in names and "leave_one_out" not in names
    assert "leave_one_out is left out: No member was trained on the coalition" in caplog.text
