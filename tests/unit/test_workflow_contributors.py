"""What rules ask of a game's contributors: tables, figures, scores and checks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dmin.catalogue.estimators import ESTIMATORS
from dmin.runtime.errors import UserError
from dmin.workflow.contributors import Contributors
from dmin.workflow.digest import CodeDigests
from dmin.workflow.figures import explored, told_games
from dmin.workflow.tables import Tables, read_tables

PROJECT = Path(__file__).parents[2]


def tables(**game: Any) -> Tables:
    """Return the tables of a game of 20 subsets, and of a run of the same model and one of another."""
    sources = [{"name": f"s{number}", "path": f"owner/s{number}", "rows": 50} for number in range(20)]
    settings = {
        "model": "m",
        "queries": {"per_subset": 3},
        "gradients": {"cache_dim": 256},
        "influence": {"methods": ["dmin", "clip"], "widths": [256, 64]},
        "evaluation": {"k": [5]},
    }
    return read_tables(
        {
            "datasets": {"d": {"sources": sources, "noise": {"fraction": 0}}},
            "bases": {"b": {"path": "owner/base"}},
            "models": {name: {"dataset": "d", "base": "b"} for name in ("m", "other")},
            "runs": {"r": settings},
            "games": {"g": {"model": "m", "reference": {"rows": 20}} | game},
        },
        PROJECT,
    )


def contributors(**game: Any) -> Contributors:
    return tables(**game).contributors["g"]


def test_tables_and_figures_are_those_that_the_coalitions_allow() -> None:
    usual = contributors()
    assert usual.tables == ["contributions", "model_table", "contributor_lds"]
    assert [Path(path).stem for path in usual.figures[::2]] == ["contributions", "contributor_lds", "without_top"]
    assert usual.pages == ["<results>/games/g/contributors.html"]
    alone = contributors(coalitions={"exact": {"trainers": ["sparsified"]}, "test": {"alphas": []}})
    assert "agreement" not in alone.tables and "contributor_lds" not in alone.tables
    curves = contributors(coalitions={"curve": {"estimators": ["shapley", "size"], "shares": [0.1, 0.5]}})
    assert "deletion" in curves.tables and curves.curve_members == ["<results>/games/g/tables/curve_members.csv"]
    assert curves.curves["asked"][:3] == [
        ["shapley", "remove", 0.1],
        ["shapley", "remove", 0.5],
        ["shapley", "keep", 0.1],
    ]
    unseen = contributors(behaviours=["mean_loss"])
    assert "model_table" not in unseen.tables and not any("without_top" in path for path in unseen.figures)
    nothing = contributors(coalitions={"fit": {"laws": []}})
    assert nothing.tables == nothing.figures == nothing.pages == []


@pytest.mark.parametrize(
    ("coalitions", "compared"),
    [
        ({"test": {"trainers": ["retrain", "sparsified"]}}, True),
        ({"fit": {"trainers": ["retrain", "sparsified"]}}, True),
        # Each has the empty and the full coalition, and others that the other lacks.
        ({}, False),
        (
            {
                "exact": {"trainers": ["sparsified"]},
                "test": {"alphas": []},
                "curve": {"estimators": ["shapley"], "shares": [0.5], "trainers": ["retrain"]},
            },
            False,
        ),
    ],
)
def test_members_are_compared_where_both_were_trained(coalitions: dict[str, Any], compared: bool) -> None:
    found = contributors(coalitions=coalitions)
    assert ("agreement" in found.tables) == compared == any("/agreement." in path for path in found.figures)


def test_local_methods_of_a_run_are_read_at_one_width() -> None:
    found = contributors(run="r", coalitions={"curve": {"estimators": ["dmin_sum"]}})
    assert found.methods == ["dmin", "clip"]
    assert found.scores() == [
        "<results>/runs/r/influence/dmin/v256/scores.npy", "<results>/runs/r/influence/clip/scores.npy",
    ]  # fmt: skip
    assert contributors().scores() == []


def test_the_explorer_of_a_run_waits_for_contributions_only_where_they_are_asked_for() -> None:
    named, asked = tables(run="r"), tables(run="r", in_explorer=True)
    files = explored(named.runs["r"], named.games.values())
    assert files["players"] == ["<results>/games/g/players.json"] and "contributions" not in files
    shown = explored(asked.runs["r"], asked.games.values())
    assert shown == files | {"contributions": ["<results>/games/g/tables/contributions.csv"]}
    told = told_games(asked.runs["r"], asked.games.values())
    assert told == [{"game": "g", "behaviours": asked.games["g"].settings["behaviours"], "measured": True}]
    assert "players" not in explored(tables().runs["r"], tables().games.values())


@pytest.mark.parametrize(
    ("game", "sentence"),
    [
        ({"run": "q"}, "games.g.run is 'q', which runs does not define"),
        ({"model": "other", "run": "r"}, "games.g.run is 'r', a run of model m, but the game is on other"),
        (
            {"coalitions": {"fit": {"count": 18}}},
            "games.g.coalitions.fit.count is 18, but the estimator shapley, which has no ridge, needs 19 coalitions",
        ),
        (
            {"coalitions": {"fit": {"laws": ["datamodel"], "alpha": 0.05, "count": 30}}},
            "fit.count is 30, but law datamodel has 20 different coalitions of 20 players beside those of the test",
        ),
        ({"coalitions": {"test": {"alphas": [0.05]}}}, "test.count is 32, but 20 players have 20 coalitions of 1"),
        ({"coalitions": {"curve": {"estimators": ["dmin_sum"]}}}, "curve.estimators has dmin_sum, which is none"),
        ({"in_explorer": True}, "games.g.in_explorer is true, but games.g.run names no run"),
        (
            {"in_explorer": True, "run": "r", "coalitions": {"fit": {"laws": []}}},
            "games.g.in_explorer is true, but the game has no coalitions to fit an estimator on",
        ),
    ],
)
def test_what_cannot_be_said_is_refused(game: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        tables(**game)


def test_the_fit_of_few_players_hangs_on_the_test_and_that_of_many_does_not() -> None:
    few = [tables(coalitions={"test": {"count": count}}).games["g"] for count in (4, 8)]
    name = few[0].ranges("fit")[0]
    assert few[0].drawn_at("fit", name) != few[1].drawn_at("fit", name)
    players = {"by": "sample"}
    many = [tables(players=players, coalitions={"test": {"count": count}, "fit": {"laws": ["datamodel"]}}).games["g"]
            for count in (4, 8)]  # fmt: skip
    name = many[0].ranges("fit")[0]
    assert many[0].drawn_at("fit", name) == many[1].drawn_at("fit", name)


def test_estimators_reach_the_fit_and_no_member() -> None:
    digests = CodeDigests(PROJECT)
    modules = [entry.module for entry in ESTIMATORS.values()]
    names = {f"{module.replace('.', '/')}.py" for module in modules}

    def files(script: str, *chosen: str) -> set[str]:
        return {str(path.relative_to(PROJECT / "scripts")) for path in digests.files(script, *chosen)}

    assert names <= files("fit_contributions", *modules)
    for script in ("unlearn", "generate_members", "measure_behaviour", "draw_coalitions", "join_members"):
        assert not names & files(script)
    assert "dmin/games/laws.py" not in files("unlearn")
