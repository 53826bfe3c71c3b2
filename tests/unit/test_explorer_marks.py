"""Marks of the explorer in a real Chromium, and the places of cards that are not made yet."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import Chromium, find_chromium
from explored_run import ExploredRun, make_queries, make_ranking, make_samples

from dmin.figures.explorer import write_explorer
from dmin.figures.explorer_data import About

PROGRAM = find_chromium()
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no Chromium is installed: chromium, or google-chrome")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("marked")
    queries, samples = make_queries(count=4), make_samples(60)
    samples.loc[4, "origin"] = "=1+1"
    rankings = {f"method {seed}": make_ranking(queries, samples, 50, seed) for seed in range(4)}
    made = ExploredRun.write(folder / "made", queries, samples, rankings)
    write_explorer(folder / "page.html", made.tables, rankings, About("fabricated", {}, 24))
    return folder / "page.html"


@pytest.fixture
def browser(started: Chromium, page: Path) -> Iterator[Chromium]:
    started.open(page)
    yield started
    assert started.errors == [], "the page threw, or its policy was broken"


def saved(browser: Chromium, name: str) -> str:
    path, until = browser.downloads / name, time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < until, f"{name} was not saved"
        browser.settle()
    return path.read_text(encoding="utf-8-sig")


def test_marked_images_are_saved_by_id_and_file(browser: Chromium) -> None:
    assert browser.run("$('marked').hidden")
    first, second = browser.run("rankings[0].top[0].slice(0, 2)")
    browser.click("#results li .pin")
    browser.run("document.querySelectorAll('#results .card')[1].focus()")
    browser.press("m")
    browser.run("openSample(4, 0)")
    browser.press("m")
    browser.press("Escape")
    browser.run("setMarked([5], true)")
    assert browser.text("#marked-count") == "4 marked"
    browser.click("#marked-csv")
    browser.click("#marked-list")
    kept = sorted({first, second, 4, 5})
    rows = list(csv.DictReader(io.StringIO(saved(browser, "fabricated-marked.csv"))))
    assert [row["id"] for row in rows] == [f"s/{index}" for index in kept]
    assert [row["file"] for row in rows if row["id"] in ("s/4", "s/5")] == ["'=1+1", ""], "no formula, and no copy"
    names = ["=1+1" if index == 4 else f"file {index}" for index in kept if index % 3 != 2]
    assert saved(browser, "fabricated-marked.txt").splitlines() == names
    browser.press("2")
    browser.run("$('train-order').value = 'marked'; $('train-order').dispatchEvent(new Event('change'))")
    assert browser.run("[...document.querySelectorAll('#train-list .pin')].filter((box) => box.checked).length") == 4
    assert browser.run("document.querySelector('#train-list .pin').checked")
    browser.click("#marked-none")
    assert browser.run("$('marked').hidden && !document.querySelector('.pin:checked')")


def test_the_address_keeps_what_is_marked(browser: Chromium, page: Path) -> None:
    browser.run("setMarked([7, 3], true)")
    browser.open(page, browser.run("location.hash"))
    assert browser.run("[...marked].sort()") == [3, 7] and browser.text("#marked-count") == "2 marked"


def test_places_of_cards_are_kept_until_they_are_made(browser: Chromium) -> None:
    heights = browser.run(
        "(async () => { setShown([0, 1, 2, 3]); const made = () => document.querySelectorAll('#results .card').length;"
        "const first = [made(), $('results').offsetHeight];"
        "await new Promise((done) => afterPaint(() => setTimeout(done, 50)));"
        "return [...first, made(), $('results').offsetHeight]; })()"
    )
    assert heights[0] == 36 and heights[2] == 96, heights
    assert heights[1] > 0.6 * heights[3], "or a reader would lose the place"
