"""Removal and keep-only curves, the table of models, and the pictures of contributors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fabricated_game import COST, INTERVAL, PLAYERS, WORTH, read_game
from PIL import Image

from dmin.data.images import encode_png
from dmin.data.samples import write_samples
from dmin.evaluation.contributor_lds import find_lds
from dmin.evaluation.deletion import measure_deletion, read_deletion
from dmin.evaluation.fit_cost import FitCost
from dmin.evaluation.member_agreement import find_agreement
from dmin.evaluation.model_table import join_costs
from dmin.figures.contributions import plot_contributions
from dmin.figures.contributor_lds import plot_contributor_lds
from dmin.figures.deletion import plot_deletion
from dmin.figures.estimators import behaviour_label, estimator_style, order_estimators, shown_behaviours
from dmin.figures.exact import plot_exact
from dmin.figures.member_agreement import draw_member_agreement
from dmin.figures.without_top import choose_rows, draw_without_top
from dmin.games.baselines import Baseline
from dmin.games.coalitions import Coalitions
from dmin.games.contributions import fit_contributions, read_contributions
from dmin.games.curves import choose_curves, curve_coalition, rank_players
from dmin.games.records import RecordFiles, Records
from dmin.runtime.errors import UserError

COSTS = pd.DataFrame(COST, columns=["trainer", "steps", "seconds", "compute"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("game")


@pytest.fixture(scope="module")
def records(folder: Path) -> Records:
    return read_game(folder, ("shapley",))


@pytest.fixture(scope="module")
def contributions(folder: Path, records: Records) -> pd.DataFrame:
    table = fit_contributions(records, {}, INTERVAL)
    table.to_csv(folder / "contributions.csv", index=False)
    return table


@pytest.mark.parametrize("behaviour", ["quality", "frechet"])
def test_the_top_moves_the_behaviour_as_everyone_does(contributions: pd.DataFrame, behaviour: str) -> None:
    order = rank_players(contributions, "exact_shapley", behaviour, PLAYERS)
    assert [PLAYERS[player] for player in order] == ["ash", "elm", "fir", "cedar", "dogwood", "birch"]
    assert rank_players(contributions, "size", behaviour, PLAYERS).tolist() == [5, 4, 3, 2, 1, 0]
    assert curve_coalition(order, "remove", 2).tolist() == [False, True, True, True, False, True]
    assert curve_coalition(order, "keep", 2).tolist() == [True, False, False, False, True, False]


def test_curves_are_numbered_in_the_order_that_is_asked(contributions: pd.DataFrame) -> None:
    asked = [("exact_shapley", "remove", 0.17), ("exact_shapley", "keep", 0.5), ("size", "remove", 0.5)]
    table = choose_curves(contributions, asked, "quality", 3_000_000)
    assert table["coalition"].tolist() == [3_000_000, 3_000_001, 3_000_002]
    member = table[[f"p{player}" for player in range(6)]].to_numpy()
    assert member.sum(axis=1).tolist() == [5, 3, 3] and not member[0, 0] and member[1, [0, 4, 5]].all()
    with pytest.raises(UserError, match="have no estimator 'lasso', by which a curve removes players"):
        choose_curves(contributions, [("lasso", "keep", 0.5)], "quality", 0)


def test_exact_game_of_which_a_coalition_is_left_out_is_refused(folder: Path, contributions: pd.DataFrame) -> None:
    files = RecordFiles(*(folder / name for name in ("players.json", "coalitions.parquet", "few.csv")), 42)
    members = pd.read_csv(folder / "members.csv")
    members[members["coalition"] != 5].to_csv(folder / "few.csv", index=False)
    with pytest.raises(UserError, match=r"^No trainer has every coalition of the game"):
        read_deletion(Records.read(files), contributions, INTERVAL)


def test_exact_game_gives_the_curves_of_all(records: Records, contributions: pd.DataFrame) -> None:
    table = read_deletion(records, contributions, INTERVAL)
    rows = table[(table["behaviour"] == "quality") & (table["kind"] == "remove")].set_index(["estimator", "players"])
    # Without the first, and without the first two, of 3, 2, 1, ...; each mean of two noisy trainings.
    assert abs(rows.loc[("exact_shapley", 1), "value"] - (10 + WORTH[1:].sum())) < 0.5
    assert abs(rows.loc[("exact_shapley", 2), "value"] - (10 + WORTH[[1, 2, 3, 5]].sum())) < 0.5
    assert (rows["low"] < rows["value"]).all() and (rows["value"] < rows["high"]).all()
    assert abs(rows.loc[("everyone", 0), "value"] - (10 + WORTH.sum() + 1)) < 0.5
    assert rows.loc[("exact_shapley", 2), "value"] < rows.loc[("random", 2), "value"]
    assert set(table["trainer"]) == {"retrain"} and set(table["seeds"]) == {2}


def test_trained_curves_are_read_by_their_numbers(records: Records) -> None:
    asked = [("shapley", "remove", 0.5), ("shapley", "keep", 0.5)]
    values = {(7, 0): 1.0, (7, 1): 3.0, (8, 0): 5.0, (8, 1): 5.0}
    rows = [(number, seed, "retrain", "quality", value) for (number, seed), value in values.items()]
    curve = pd.DataFrame(rows, columns=["coalition", "seed", "trainer", "behaviour", "value"])
    table = measure_deletion(records, curve, asked, 7, INTERVAL).set_index(["estimator", "kind"])
    removed, kept = table.loc[("shapley", "remove")], table.loc[("shapley", "keep")]
    assert removed["value"] == 2 and kept["value"] == 5 and removed["players"] == 3
    # Deviation 1 of two trainings, pooled over both: sqrt(2 / 2); of the mean over sqrt(2).
    assert np.isclose(removed["high"] - 2, 1.959964 / np.sqrt(2))


def test_models_are_joined_with_their_cost() -> None:
    models = pd.DataFrame(
        {
            "model": ["full", "pruned", "retrain", "sparsified"],
            "steps": [9, 5, 9, 1],
            "distance": "frechet_efficientnet",
            "to_data": [1.0, 2, 3, 4],
            "to_whole": [np.nan, 1, 1, 1],
            "to_retrained": [np.nan, np.nan, np.nan, 0.5],
            "parameters": 7,
            "macs": 8,
            "members": 1,
        }
    )
    table = join_costs(models, COSTS).set_index("model")
    assert table["compute"].tolist()[1:] == [0.6, 1.0, 0.05] and np.isnan(table["compute"]["full"])
    assert table["seconds"]["pruned"] == 60 and table["to_retrained"]["sparsified"] == 0.5


def test_players_names_are_text_whatever_they_look_like(tmp_path: Path, contributions: pd.DataFrame) -> None:
    table = contributions.assign(player=contributions["player"].replace({"ash": "007", "birch": "NA"}))
    table.to_csv(tmp_path / "contributions.csv", index=False)
    found = read_contributions(tmp_path / "contributions.csv")
    assert set(found["player"]) == {"007", "NA", *PLAYERS[2:]} and found["share"].isna().any()


def test_shares_are_drawn_with_their_intervals(contributions: pd.DataFrame) -> None:
    panels = plot_contributions(contributions).axes
    assert [panel.get_title(loc="left") for panel in panels] == ["frechet", "quality"]
    assert [label.get_text() for label in panels[1].get_yticklabels()][:2] == ["ash", "elm"]
    shares = contributions.query("estimator == 'exact_shapley' and behaviour == 'quality'")["share"]
    widths = [bar.get_width() for bar in panels[1].patches]
    assert np.allclose(sorted(widths), sorted(100 * shares))
    with pytest.raises(UserError, match="contributions table is empty"):
        plot_contributions(contributions[:0])


def test_lines_of_lds_and_exact_values_are_drawn(records: Records, contributions: pd.DataFrame) -> None:
    interval = {**INTERVAL, "bootstrap": 10}
    lds = find_lds(records, contributions, FitCost(COSTS.set_index("trainer")["compute"].to_dict(), "steps"), interval)
    (panel, _) = plot_contributor_lds(lds).axes
    drawn = [[round(float(x), 6) for x in line.get_xdata()] for line in panel.lines]
    assert [1.0, 1.4] in drawn
    exact = pd.DataFrame(
        {
            "estimator": ["shapley", "shapley", "size"],
            "behaviour": "quality",
            "coalitions": [8, 16, 0],
            "spearman": [0.5, 1.0, 0.1],
            "error": [0.5, 0.0, np.nan],
            "low": [0.2, 0.9, np.nan],
            "high": [0.8, 1.0, np.nan],
            "trainer": ["retrain", "retrain", ""],
            "truth": "retrain",
        }
    )
    above, below = plot_exact(exact).axes
    assert above.lines[0].get_ydata().tolist() == [0.5, 1.0] and below.lines[0].get_ydata().tolist() == [0.5, 1e-3]
    assert len(plot_deletion(read_deletion(records, contributions, interval)).axes) == 4


def test_members_are_drawn_over_retrained_ones(folder: Path, records: Records) -> None:
    find_agreement(records, COSTS, INTERVAL).to_csv(folder / "agreement.csv", index=False)
    draw_member_agreement(records, folder / "agreement.csv", [folder / "agreement.svg"], 80)
    assert "r = 0.9" in (folder / "agreement.svg").read_text()


def test_trainers_that_share_no_coalition_are_not_compared_by_members(records: Records) -> None:
    numbers = records.members["coalition"]
    # Both have none and all; retrained members are those of the test, others those of the fit.
    apart = replace(records, members=records.members[(numbers < 2) | (numbers > 63)])
    table = find_agreement(apart, COSTS, INTERVAL)
    assert "members" not in set(table["of"]) and (table["members"] > 0).all()


def test_a_baseline_of_one_query_has_no_interval() -> None:
    queries = np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]])
    assert np.isnan(Baseline(queries[0], queries[:1]).interval(INTERVAL)).all()
    low, high = Baseline(queries.mean(axis=0), queries).interval(INTERVAL)
    assert low.tolist() == [1, 2, 1] and high.tolist() == [3, 2, 3]


def test_strip_shows_everyone_and_the_largest_coalition_without_the_top(
    folder: Path, records: Records, contributions: pd.DataFrame
) -> None:
    coalitions = Coalitions.read(folder / "coalitions.parquet")
    rows = choose_rows(contributions, coalitions, "quality", set(range(64)))
    assert [label for label, _ in rows] == ["Everyone", "Without ash", "Without birch"]
    assert [records.member(pd.Index([number]))[0].sum() for _, number in rows] == [6, 5, 5]
    few = choose_rows(contributions, coalitions, "quality", {1, 3})
    assert few == [("Everyone", 1), ("Without ash and 4 others", 3)]
    with pytest.raises(UserError, match="no images of everybody's member"):
        choose_rows(contributions, coalitions, "quality", {3})
    image = {"bytes": encode_png(Image.fromarray(np.full((8, 8, 3), 90, dtype=np.uint8))), "path": None}
    made = [{"id": f"i{n}", "set": str(number), "repeat": "0", "image": image} for _, number in rows for n in range(3)]
    write_samples(pd.DataFrame(made), folder / "images.parquet")
    draw_without_top(
        folder / "contributions.csv", folder / "coalitions.parquet", [folder / "images.parquet"], "quality",
        [folder / "strip.svg"], 80,
    )  # fmt: skip
    assert "Without ash" in (folder / "strip.svg").read_text()


def test_every_name_has_a_style_and_exact_values_come_first() -> None:
    assert estimator_style("dmin_sum").label == "DMin, sum" and estimator_style("size").label == "Number of samples"
    assert estimator_style("dmin_no_norm_mean").label.endswith(", mean")
    assert order_estimators(["size", "banzhaf", "shapley", "exact_shapley"])[0] == "exact_shapley"


def test_of_many_behaviours_parts_come_last() -> None:
    names = [f"class_share/{digit}" for digit in range(6)] + ["frechet_efficientnet", "local_l2", "local_loss"]
    assert shown_behaviours(names, 4) == ["class_share/0", "frechet_efficientnet", "local_l2", "local_loss"]
    assert shown_behaviours(names, 9) == sorted(names)
    assert behaviour_label("class_share/0") == "class share: 0"
