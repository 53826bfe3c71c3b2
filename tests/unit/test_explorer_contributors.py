"""The explorer tells whose the training images are, and what contributors gave."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from chromium import Chromium, find_chromium
from explored_run import (
    ExploredRun,
    make_beside,
    make_contributions,
    make_game,
    make_queries,
    make_ranking,
    make_samples,
)

from dmin.evaluation.intervals import rate_interval
from dmin.figures.contributor_page import MOST_PLAYERS, Played
from dmin.figures.explorer import write_explorer
from dmin.figures.explorer_contributors import Contributed, collect_contributed, read_contributed
from dmin.figures.explorer_data import About
from dmin.figures.explorer_rankings import Listed
from dmin.runtime.atomic import write_csv, write_json
from dmin.runtime.errors import UserError

needs_chromium = pytest.mark.skipif(
    find_chromium() is None, reason="no Chromium is installed: chromium, or google-chrome"
)
SHOWN = 8
QUERIES, SAMPLES = make_queries(count=6), make_samples(40, size=8)
RANKINGS = {"one": make_ranking(QUERIES, SAMPLES, 20, 1), "two": make_ranking(QUERIES, SAMPLES, 20, 2)}


def listed(subsets: list[str], samples: pd.DataFrame = SAMPLES) -> Listed:
    places = {name: place for place, name in enumerate(samples["id"])}
    return Listed(QUERIES["id"].tolist(), subsets, places, SHOWN, 0.95)


def test_shares_are_means_over_queries_each_subset_alike() -> None:
    game, subsets = make_game(SAMPLES), QUERIES["subset"].tolist()
    found = collect_contributed(game, RANKINGS, listed(subsets))
    assert found["names"] == ["ann", "<b>eve</b>", "bob"] and found["sizes"] == [20, 10, 10]
    assert [found["names"][owner] for owner in found["owners"]] == list(game.owners.values())
    for table, ranking in zip(found["shares"], RANKINGS.values(), strict=True):
        head = ranking.top[ranking.top["rank"] <= SHOWN]
        for name, told in zip(found["names"], table, strict=True):
            each = [
                np.mean([game.owners[sample] == name for sample in head["sample_id"][head["query_id"] == query]])
                for query in QUERIES["id"]
            ]
            groups = [np.array(each)[np.array(subsets) == subset] for subset in ("cats", "dogs")]
            expected = [np.mean([group.mean() for group in groups]), *rate_interval(groups, 0.95)]
            assert np.allclose(told, expected, atol=1e-5)
        assert abs(sum(told[0] for told in table) - 1) < 1e-4


def test_lists_shorter_than_what_is_asked_for_are_all_that_is_shown(tmp_path: Path) -> None:
    rankings = {"one": make_ranking(QUERIES, SAMPLES, 4, 1)}
    made = ExploredRun.write(tmp_path, QUERIES, SAMPLES, rankings)
    write_explorer(tmp_path / "page.html", made.tables, rankings, About("r", {}, 24))
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    # By this number the page tells chance.
    assert json.loads(page.partition('id="data">')[2].partition("</script>")[0])["shown"] == 4


def test_without_contributions_nothing_is_said_of_them() -> None:
    found = collect_contributed(make_game(SAMPLES, measured=False), RANKINGS, listed([""] * len(QUERIES)))
    assert found["measured"] is None and len(found["shares"][0]) == 3


def test_of_many_players_those_that_lists_hold_most_of_are_kept() -> None:
    samples = make_samples(MOST_PLAYERS + 50, size=1)
    ranking = make_ranking(QUERIES, samples, 20, 3)
    game = Contributed(Played("singles", ["entropy"]), {name: name for name in samples["id"]})
    found = collect_contributed(game, {"one": ranking}, listed([""] * len(QUERIES), samples))
    assert len(found["names"]) == MOST_PLAYERS and found["owners"].count(-1) == 50
    head = ranking.top[ranking.top["rank"] <= SHOWN]
    assert set(head["sample_id"]) <= set(found["names"])


def test_files_are_read_and_a_stale_list_of_players_is_refused(tmp_path: Path) -> None:
    game = make_game(SAMPLES)
    assert game.contributions is not None
    players, table = tmp_path / "players.json", tmp_path / "contributions.csv"
    names = sorted(set(game.owners.values()))
    held = [[sample for sample, owner in game.owners.items() if owner == name] for name in names]
    write_json({"players": names, "samples": held, "subsets": []}, players)
    write_csv(game.contributions, table)
    found = read_contributed(game.played, players, table, list(game.owners))
    assert found.owners == game.owners and found.contributions is not None
    pd.testing.assert_frame_equal(found.contributions, game.contributions, check_dtype=False)
    write_json({"players": names, "samples": [held[0], held[1], held[2][:-1]], "subsets": []}, players)
    with pytest.raises(UserError, match=f"'{held[2][-1]}' belongs to no player of '{players}'; delete"):
        read_contributed(game.played, players, None, list(game.owners))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("contributors")
    made = ExploredRun.write(folder / "made", QUERIES, SAMPLES, RANKINGS)
    write_explorer(folder / "page.html", made.tables, RANKINGS, About("r", {}, SHOWN), make_beside(QUERIES, SAMPLES))
    return folder / "page.html"


@pytest.fixture
def browser(started: Chromium, page: Path) -> Iterator[Chromium]:
    started.open(page)
    started.press("4")
    yield started
    assert started.errors == [], "the page threw, or its policy was broken"


def cells(browser: Chromium, selector: str) -> list[str]:
    found: list[str] = browser.run(f"[...document.querySelectorAll('{selector}')].map((e) => e.textContent)")
    return found


@needs_chromium
def test_lists_are_counted_by_contributor(browser: Chromium) -> None:
    head = RANKINGS["one"].top.query("query_id == @QUERIES['id'][0] and rank <= @SHOWN")
    owners = head["sample_id"].map(make_game(SAMPLES).owners)
    told = dict(
        zip(
            cells(browser, "#contributors-rows .who"),
            cells(browser, "#contributors-rows td:nth-child(2) b:first-child"),
            strict=True,
        )
    )
    assert told == {name: f"{(owners == name).sum()} of {SHOWN}" for name in ("ann", "<b>eve</b>", "bob")}
    counts = [int(text.split()[0]) for text in told.values()]
    assert counts == sorted(counts, reverse=True)
    assert "20 training images, 50 %" in browser.text("#contributors-rows")
    first = browser.run("+document.querySelector('#contributors-rows .thumb').dataset.sample")
    browser.click("#contributors-rows .thumb")
    assert browser.run("$('dialog').open && state.sample") == first
    browser.press("Escape")


@needs_chromium
def test_contributions_point_where_everyone_moves_the_behaviour(browser: Chromium) -> None:
    assert cells(browser, "#contributors-behaviour option")[0].lower().startswith("mean"), "the game's first behaviour"
    browser.run("$('contributors-order').value = 'given'; $('contributors-order').dispatchEvent(new Event('change'))")
    # Everyone lowers the loss, so that the lowest value is the largest contribution.
    assert cells(browser, "#contributors-rows .who") == ["bob", "<b>eve</b>", "ann"]
    last = cells(browser, "#contributors-rows td:last-child")
    assert last[0].startswith("50.0 %") and "\N{MINUS SIGN}3, \N{MINUS SIGN}3.5 to \N{MINUS SIGN}2.5" in last[0]
    assert cells(browser, "#contributors-rows .against") == []
    browser.run(
        "$('contributors-behaviour').value = 'entropy'; $('contributors-behaviour').dispatchEvent(new Event('change'))"
    )
    assert cells(browser, "#contributors-rows .who")[0] == "bob"
    browser.run("$('contributors-game').value = '1'; $('contributors-game').dispatchEvent(new Event('change'))")
    assert browser.run("document.querySelectorAll('#contributors-rows tr:first-child td').length") == 2
    assert browser.run("$('contributors-estimator-field').hidden")


@needs_chromium
def test_what_is_shown_of_contributors_is_saved(browser: Chromium) -> None:
    text = browser.run("shownTable().text")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert {row["contributor"] for row in rows} == {"ann", "<b>eve</b>", "bob"}
    assert sum(int(row["listed"]) for row in rows) == SHOWN and rows[0]["behaviour"] == "mean_loss"
    assert json.loads(rows[0]["share"]) > 0


@needs_chromium
def test_baselines_point_where_everyone_moves_the_behaviour(browser: Chromium) -> None:
    browser.run("$('contributors-order').value = 'given'; $('contributors-order').dispatchEvent(new Event('change'))")
    choose = (
        "$('contributors-estimator').value = 'size'; $('contributors-estimator').dispatchEvent(new Event('change'))"
    )
    browser.run(choose)
    # Who has most images is said to lower the loss most; no baseline has a share to tell it by.
    assert cells(browser, "#contributors-rows .who")[0] == "ann"
    assert cells(browser, "#contributors-rows .against") == []


def test_contributions_are_those_of_the_table() -> None:
    table = make_contributions({"ann": 2, "bob": 1})
    found = collect_contributed(
        Contributed(Played("g", ["entropy"]), {"s/0": "ann", "s/1": "ann", "s/2": "bob"}, table),
        {"one": make_ranking(QUERIES, SAMPLES.iloc[:3], 3, 4)},
        listed([""] * len(QUERIES), SAMPLES.iloc[:3]),
    )["measured"]
    assert found is not None and found["behaviours"][0][0] == "entropy"
    assert found["rows"]["mean_loss"]["exact_shapley"] == [[-1, -1.5, -0.5, 0.33333], [-2, -2.5, -1.5, 0.66667]]
