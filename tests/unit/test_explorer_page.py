"""The explorer in a real Chromium: what a reader clicks, types, saves and sees."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import Chromium, find_chromium
from explored_run import ExploredRun, make_beside, make_queries, make_ranking, make_samples
from PIL import Image

from dmin.figures.explorer import write_explorer
from dmin.figures.explorer_data import About
from dmin.figures.explorer_rankings import Ranked

PROGRAM = find_chromium()
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no Chromium is installed: chromium, or google-chrome")
HOSTILE = "</script><img src=x onerror=\"window.hacked = 1\"><svg onload='window.hacked = 2'> =HYPERLINK(1)"
FOUND = "document.querySelectorAll({!r}).length"


def count(browser: Chromium, selector: str) -> int:
    return int(browser.run(FOUND.format(selector)))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explorer")
    queries, samples = make_queries(count=12), make_samples(150, size=96)
    samples.loc[3, "prompt"], samples.loc[5, "origin"] = HOSTILE, "=1+1"
    queries.loc[2, "prompt"] = "a very red dog"
    rankings = {f"method {seed}": make_ranking(queries, samples, 50, seed) for seed in range(5)}
    first = rankings["method 0"]
    significant = first.top["rank"] <= 2
    judged = first.top.assign(p_value=0.001 * first.top["rank"], significant=significant, low=0.0, high=3.0)
    judged.loc[judged["query_id"] == "query/dogs/0", "significant"] = False
    rankings["method 0"] = Ranked(judged, first.scores)
    made = ExploredRun.write(folder / "made", queries, samples, rankings)
    about = About("fabricated", {"Model": HOSTILE}, 24)
    write_explorer(folder / "page.html", made.tables, rankings, about, make_beside(queries, samples))
    return folder / "page.html"


@pytest.fixture
def browser(started: Chromium, page: Path) -> Iterator[Chromium]:
    started.open(page)
    yield started
    assert started.errors == [], "the page threw, or its policy was broken"
    assert {address.partition("#")[0] for address in started.requests} <= {page.as_uri()}, "it asked for another file"
    assert started.run("window.hacked") is None, "a caption was run"


def test_a_click_on_a_card_leads_to_its_image_and_on_to_another_query(browser: Chromium) -> None:
    browser.settle()
    assert count(browser, "#results .card") == 24 and count(browser, "#list .pick") == 12
    browser.click("#results .card")
    assert browser.run("$('dialog').open")
    assert "of 12 generated images" in browser.text(".bridge") and "chance" in browser.text(".bridge")
    browser.click("#sheet .zoom")
    assert browser.run("$('light').open") and "96 \N{MULTIPLICATION SIGN} 96 pixels" in browser.text("#light")
    browser.press("Escape")
    assert not browser.run("$('light').open") and browser.run("$('dialog').open")
    browser.click("#sheet .cards .card")
    assert not browser.run("$('dialog').open")


def test_pictures_are_drawn(browser: Chromium) -> None:
    browser.settle()
    colours = browser.run(
        "(() => { const c = document.querySelector('#results .picture');"
        "return new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).size; })()"
    )
    assert colours > 50


def test_keys_walk_search_and_close(browser: Chromium) -> None:
    browser.press("ArrowRight")
    assert browser.run("state.query") == 1
    browser.press("ArrowLeft")
    browser.press("/")
    browser.write("very red")
    assert count(browser, "#list .pick") == 1 and browser.text("#hero h1") == "a very red dog"
    browser.press("Escape")
    assert count(browser, "#list .pick") == 12
    browser.press("2")
    assert browser.run("!$('view-training').hidden && $('view-images').hidden")
    browser.press("3")
    assert browser.run("!$('view-map').hidden")


def test_filters_and_orders_of_the_generated_images(browser: Chromium) -> None:
    browser.click("#chips .chip:nth-child(3)")
    assert count(browser, "#list .pick") == 6 and browser.text("#hero .badge") == "dogs"
    browser.run("$('order').value = 'high'; $('order').dispatchEvent(new Event('change'))")
    shown = browser.run("visible.map((query) => listRate(query.index))")
    assert shown == sorted(shown, reverse=True)


def test_up_to_four_rankings_stand_side_by_side(browser: Chromium) -> None:
    for place in range(1, 4):
        browser.run(f"$('compare').value = '{place}'; $('compare').dispatchEvent(new Event('change'))")
    assert count(browser, "#results section") == 4 and browser.run("$('compare').disabled")
    tops = browser.run("[...document.querySelectorAll('#results section')].map((e) => e.getBoundingClientRect().top)")
    assert len(set(tops)) == 1
    # A rank elsewhere is known beyond the list, by all scores.
    told = browser.text("#results .elsewhere")
    index = browser.run("rankings[0].top[0][0]")
    ranks = browser.run(f"[1, 2, 3].map((r) => placeOf(rankings[r], 0, {index}))")
    assert told == f"elsewhere: rank {', '.join(map(str, ranks))}" and max(ranks) > 24
    browser.click("#results section:nth-child(2) .remove")
    assert count(browser, "#results section") == 3


def test_significance_and_histogram(browser: Chromium) -> None:
    assert browser.text(".verdict") == "2 of the 24 shown are significant"
    assert count(browser, ".histogram .significance") == 1 and count(browser, ".histogram .tick") == 24
    heights = browser.run("[...document.querySelectorAll('.histogram rect')].map((e) => +e.getAttribute('height'))")
    assert len(heights) == 48 and max(heights) == 38
    browser.run("show({ query: 1 })")
    assert browser.text(".verdict").startswith("No reliable influence") and count(browser, ".significance") == 0


def test_opponents_are_shown_on_demand(browser: Chromium) -> None:
    browser.click("#show-low")
    shown = browser.run("[...document.querySelectorAll('#results .card b')].length")
    assert shown and browser.text("#results .card .rank").endswith("\N{MINUS SIGN}1")
    least = browser.run("rankings[0].low_scores[0][0]")
    assert least < 0 and browser.run("scoreOf(rankings[0], 0, rankings[0].low[0][0])") == least


def test_training_set_is_counted_searched_and_filtered(browser: Chromium) -> None:
    browser.click("#tab-training")
    browser.settle()
    counts = browser.run("[...document.querySelectorAll('#train-list .row b')].map((e) => parseInt(e.textContent))")
    assert len(counts) == 60 and counts == sorted(counts, reverse=True)
    assert sum(browser.run("[...timesListed(rankings[0])]")) == 12 * 24
    assert "By chance an image would be in 1.9 lists" in browser.text("#train-words")
    browser.click("#train-more")
    browser.settle()
    assert browser.run("document.activeElement.dataset.sample === String(trainRows().rows[60].index)")
    shown = browser.run("[...document.querySelectorAll('#train-list .card')].map((card) => +card.dataset.sample)")
    assert shown == browser.run("trainRows().rows.slice(0, 120).map((sample) => sample.index)")
    browser.press("/")
    assert browser.run("document.activeElement.id") == "train-search"
    browser.run("$('train-search').blur(); $('train-search').focus()")
    browser.write("file 149")
    assert count(browser, "#train-list .card") == 1
    browser.run("$('train-search').value = ''; $('train-search').dispatchEvent(new Event('input'))")
    browser.run("$('train-flag').value = 'mislabelled'; $('train-flag').dispatchEvent(new Event('change'))")
    assert count(browser, "#train-list .card") == 2 and browser.text("#train-list .flag") in ("mislabelled", "harmful")
    browser.click("#train-chips .chip:nth-child(4)")
    assert "0 of 150" in browser.text("#train-count") and not browser.run("$('train-none').hidden")


def test_map_and_list_are_linked_both_ways(browser: Chromium) -> None:
    browser.click("#tab-map")
    browser.settle()
    first = browser.run("rankings[0].top[0][0]")
    browser.run("document.querySelector('#map-list .card').focus()")
    assert browser.run("mapState.pointed") == first
    place = browser.run(f"[mapPlaces.sample[2 * {first}], mapPlaces.sample[2 * {first} + 1]]")
    box = browser.run("(() => { const b = $('map').getBoundingClientRect(); return [b.left, b.top]; })()")
    at = {"x": box[0] + place[0], "y": box[1] + place[1]}
    browser.run("document.activeElement.blur()")
    browser.send("Input.dispatchMouseEvent", {"type": "mouseMoved", **at})
    assert not browser.run("$('map-tip').hidden")
    pointed = browser.run("mapState.pointed")
    if pointed == first:
        assert count(browser, "#map-list .twin") == 1
    browser.run("$('map').focus()")
    for key in ("ArrowRight", "ArrowDown", "ArrowLeft"):
        browser.press(key)
    reached = browser.run("mapState.focus")
    browser.press("Enter")
    assert reached >= 0 and browser.run("$('dialog').open && !$('light').open && state.sample") == reached


def test_influence_maps_stand_where_the_run_has_them(browser: Chromium) -> None:
    browser.run("openSample(1, 0)")
    assert count(browser, ".split") == 0
    assert "null" not in browser.text("#sheet")
    browser.run("openSample(0, 0)")
    browser.settle()
    assert count(browser, ".split .picture") == 2 and count(browser, ".parts dt") == 4
    # The first field raises the score, the last one of the training image lowers it.
    colours = browser.run(
        "[...document.querySelectorAll('.split .picture')].map((c, place) => [...c.getContext('2d').getImageData("
        "place ? c.width - 4 : 4, place ? c.height - 4 : 4, 1, 1).data])"
    )
    assert colours[0][0] > colours[0][2] and colours[1][2] > colours[1][0]
    browser.press("Escape")


def test_the_address_keeps_what_is_shown(browser: Chromium, page: Path) -> None:
    browser.run("setShown([2, 0, 4]); show({ query: 3, low: true, view: 'images' })")
    address = browser.run("location.hash")
    browser.open(page, address)
    assert browser.run("[state.query, state.low, ...state.shown]") == [3, True, 2, 0, 4]


def test_tables_and_pictures_are_saved(browser: Chromium) -> None:
    browser.click("#save-csv")
    browser.click("#save-png")
    until = time.monotonic() + 20
    while len(found := [path for path in browser.downloads.iterdir() if path.suffix in (".csv", ".png")]) < 2:
        assert time.monotonic() < until, f"only {found} was saved"
        browser.settle()
    table, picture = sorted(found)
    rows = list(csv.DictReader(io.StringIO(table.read_text(encoding="utf-8-sig"))))
    assert [row["rank"] for row in rows] == [str(rank) for rank in range(1, 25)]
    assert rows[0]["query"] == "query/cats/0" and rows[0]["p_value"] == "0.001" and rows[0]["significant"] == "true"
    assert Image.open(picture).size[0] > 900


def test_no_cell_of_a_table_is_a_formula(browser: Chromium) -> None:
    assert browser.run("""cellOf('=1+1') + cellOf('a "b"') + cellOf(-1.5)""") == """"'=1+1""a ""b""\"-1.5"""


@pytest.mark.attack("page", "markup with handlers in captions, in a real browser", "shown as text; nothing is run")
def test_captions_with_markup_are_text(browser: Chromium) -> None:
    browser.click("#tab-training")
    browser.run("state.trainText = 'onerror'; refilter()")
    assert HOSTILE in browser.text("#train-list .caption")
    browser.click("#train-list .card")
    assert browser.text("#dialog-title") == HOSTILE
    browser.settle()
    attack = '<img src="data:," onerror="window.hacked = 3">'
    browser.run(f"document.body.insertAdjacentHTML('beforeend', {json.dumps(attack)}), 0")
    browser.settle()
    # What the policy refuses is logged, and that is what is wanted here.
    assert browser.errors and all("Content Security Policy" in error for error in browser.errors)
    browser.errors.clear()


@pytest.mark.parametrize("view", ["images", "training", "map", "contributors"])
def test_a_telephone_shows_all_of_it(browser: Chromium, view: str) -> None:
    browser.resize((390, 844))
    browser.run(f"setShown([0, 1]); show({{ view: '{view}' }})")
    browser.settle()
    assert browser.run("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(browser: Chromium, theme: str) -> None:
    browser.run(f"setTheme('{theme}', false); setMarked([0, 1, 4], true)")
    shown = [
        "setShown([0, 1])",
        "show({ view: 'training' })",
        "show({ view: 'map' })",
        "show({ view: 'contributors' })",
    ]
    shown.append("openSample(4, 0)")
    for change in shown:
        browser.run(change + "; 0")
        told = browser.axe()
        assert told == [], f"after {change}: {json.dumps(told)}"
    browser.run("$('dialog').close()")


def test_a_dark_theme_is_the_readers_and_is_kept(started: Chromium, page: Path) -> None:
    started.dark(True)
    started.open(page)
    assert started.run("document.documentElement.dataset.theme") == "dark"
    assert started.run("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 28)"
    started.click("#theme")
    assert started.run("document.documentElement.dataset.theme") == "light"
    started.dark(False)
    started.run("localStorage.clear()")
