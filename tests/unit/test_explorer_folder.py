"""The explorer as a folder: whole however many images there are, opened from a disk in a real Chromium."""

from __future__ import annotations

import dataclasses
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from chromium import Chromium, find_chromium
from explored_run import ExploredRun, make_beside, make_queries, make_ranking, make_samples

from dmin.figures import explorer
from dmin.figures.explorer import write_explorer, write_explorer_folder
from dmin.figures.explorer_data import About

PROGRAM = find_chromium()
needs_chromium = pytest.mark.skipif(PROGRAM is None, reason="no Chromium is installed: chromium, or google-chrome")
HOSTILE = "</script><img src=x onerror=\"window.hacked = 1\"><svg onload='window.hacked = 2'> =HYPERLINK(1)"
COUNT, LISTED, SIZE, SHOWN = 90, 40, 140, 6
ABOUT = About("fabricated", {"Model": HOSTILE}, SHOWN)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> ExploredRun:
    queries, samples = make_queries(count=5), make_samples(COUNT, size=SIZE)
    samples.loc[3, "prompt"] = HOSTILE
    rankings = {f"method {seed}": make_ranking(queries, samples, 20, seed) for seed in range(3)}
    return ExploredRun.write(tmp_path_factory.mktemp("made"), queries, samples, rankings)


@pytest.fixture(scope="module")
def folder(made: ExploredRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder, and beside it the page, of a set that is too large for the page."""
    root = tmp_path_factory.mktemp("folder")
    beside = make_beside(make_queries(count=5), make_samples(COUNT, size=1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(explorer, "PAGE", dataclasses.replace(explorer.PAGE, listed=LISTED))
        # Two queries to a file.
        patch.setattr(explorer, "PIECE", 2 * COUNT + 7)
        write_explorer(root / "explorer.html", made.tables, made.rankings, ABOUT, beside)
        write_explorer_folder(root / "explorer_folder", made.tables, made.rankings, ABOUT, beside)
    return root / "explorer_folder"


@pytest.fixture
def browser(started: Chromium, folder: Path) -> Iterator[Chromium]:
    started.requests.clear()
    started.open(folder / "index.html")
    arrive(started)
    yield started
    assert started.errors == [], "the page threw, a file was missing or its policy was broken"
    asked = {address.partition("#")[0] for address in started.requests}
    assert all(address.startswith(folder.as_uri() + "/") for address in asked), "it asked for another file"
    assert started.run("window.hacked") is None, "a caption was run"


def arrive(browser: Chromium) -> None:
    """Wait until what was asked for is there and drawn."""
    browser.run("(async () => { while (asked.size) await Promise.all(asked.values()); })()")
    browser.settle()


def change(browser: Chromium, action: str) -> None:
    browser.run(f"{action}; 0")
    arrive(browser)


@needs_chromium
def test_all_images_are_listed_and_found_where_the_page_lists_some(browser: Chromium, folder: Path) -> None:
    assert browser.run("[samples.length, data.total, complete]") == [COUNT, COUNT, True]
    page = (folder.parent / "explorer.html").read_text(encoding="utf-8")
    kept = {row[0] for row in json.loads(page.partition('id="data">')[2].partition("</script>")[0])["samples"]}
    beyond = max(number for number in range(COUNT) if f"s/{number}" not in kept)
    assert LISTED <= len(kept) < COUNT
    change(browser, f"show({{ view: 'training' }}); state.trainText = 'file {beyond}'; refilter()")
    assert browser.text("#train-list .origin").endswith(f"file {beyond}")
    assert "This page lists" not in browser.text("#train-words")
    change(browser, "state.trainText = ''; state.trainOrder = 'query'; refilter()")
    shown = browser.run("[...document.querySelectorAll('#train-list .card')].map((card) => +card.dataset.sample)")
    assert shown == np.argsort(-made_scores(browser, 0), kind="stable")[:60].tolist()


def made_scores(browser: Chromium, query: int) -> np.ndarray:
    return np.array(browser.run(f"samples.map((sample) => scoreOf(rankings[0], {query}, sample.index))"))


@needs_chromium
def test_ranks_and_scores_beyond_the_lists_are_known(browser: Chromium, made: ExploredRun) -> None:
    scores = made.rankings["method 0"].scores
    assert scores is not None
    change(browser, "show({ query: 4 })")
    assert np.abs(made_scores(browser, 4) - scores.values[4]).max() < 1e-4
    order = np.argsort(-scores.values[4])
    for rank in (SHOWN + 1, 45, COUNT):
        change(browser, f"openSample({order[rank - 1]}, 0)")
        assert f"rank {rank} of {COUNT}" in browser.text("#sheet")
    # Of another ranking, which is not on show.
    change(browser, "$('sheet').querySelector('select').value = 2")
    change(browser, "$('sheet').querySelector('select').dispatchEvent(new Event('change'))")
    other = made.rankings["method 2"].scores
    assert other is not None
    rank = 1 + int((other.values[4] > other.values[4, order[-1]]).sum())
    assert f"rank {rank} of {COUNT}" in browser.text("#sheet")
    browser.run("$('dialog').close()")


@needs_chromium
def test_pictures_are_files_that_load(browser: Chromium) -> None:
    loaded = browser.run(
        "Promise.all(data.pictures.samples.sheets.map(sheetOf)).then((all) => all.map((s) => [s.src, s.naturalWidth]))"
    )
    # Cells of 128 pixels in sheets of 512.
    assert len(loaded) == -(-COUNT // 16) and all(width == 512 for _, width in loaded)
    assert all(source.endswith(".webp") for source, _ in loaded)
    for place in (0, COUNT - 1):
        browser.run(f"openLight('samples', {place}, 'large')")
        assert browser.run("$('light').querySelector('img').decode()") is None
        assert browser.run("$('light').querySelector('img').naturalWidth") == SIZE
        assert "of which" not in browser.text("#light")
        browser.run("$('light').close()")


@needs_chromium
def test_numbers_are_read_when_they_are_shown(browser: Chromium) -> None:
    def read() -> int:
        return len({address for address in browser.requests if address.endswith(".js")})

    # Of one ranking, how scores are distributed and those of two queries.
    assert read() == 2
    change(browser, "show({ query: 1 })")
    assert read() == 2, "it stands in a file that was read"
    change(browser, "show({ query: 2 })")
    assert read() == 3
    change(browser, "setShown([0, 1])")
    assert read() == 5
    counts = browser.run("[...rowOf(rankings[1].spread.counts, 2, BINS)]")
    assert sum(counts) == COUNT
    change(browser, "show({ view: 'map' })")
    assert read() == 7 and browser.run("mapPlaces.sample.length") == 2 * COUNT


@needs_chromium
def test_the_last_that_was_asked_for_is_shown(browser: Chromium) -> None:
    change(browser, "show({ query: 2 }); show({ query: 4 }); show({ query: 0 })")
    assert browser.run("document.querySelector('#results .card').dataset.sample") == str(
        browser.run("rankings[0].top[0][0]")
    )
    assert browser.run("visible[0].index === state.query")


@needs_chromium
def test_a_picture_that_cannot_be_saved_is_shown(browser: Chromium) -> None:
    browser.click("#save-png")
    until = time.monotonic() + 20
    while not browser.run("$('light').open"):
        assert time.monotonic() < until, browser.errors
        browser.settle()
    assert "right click" in browser.text("#light") and browser.run("$('light').querySelector('canvas').width") > 900
    browser.run("$('light').close()")


@needs_chromium
def test_a_missing_file_is_told(browser: Chromium, folder: Path) -> None:
    lost = folder / "files" / "0" / f"{browser.run('rankings[2].all')}-0.js"
    lost.rename(lost.with_suffix(".away"))
    try:
        change(browser, "setShown([2])")
    finally:
        lost.with_suffix(".away").rename(lost)
    assert "A file is missing" in browser.text("#told") and browser.run("$('results').querySelectorAll('.card').length")
    assert len(browser.errors) == 1 and "ERR_FILE_NOT_FOUND" in browser.errors[0]
    browser.errors.clear()


@needs_chromium
@pytest.mark.attack("page", "markup with handlers in captions of the explorer's folder", "text; no markup can be made")
def test_captions_with_markup_are_text(browser: Chromium) -> None:
    change(browser, "show({ view: 'training' }); state.trainText = 'onerror'; refilter()")
    assert HOSTILE in browser.text("#train-list .caption")
    change(browser, "openSample(3, 0)")
    assert browser.text("#dialog-title") == HOSTILE
    browser.run("$('dialog').close()")
    refused = browser.run(
        "['innerHTML', 'src'].map((name) => { const script = document.createElement('script');"
        "try { script[name] = 'window.hacked = 3'; return 'taken'; } catch (error) { return error.name; } })"
    )
    assert refused == ["TypeError"] * 2
    attack = "Object.assign(document.createElement('a'), { href: 'javascript:window.hacked = 4' })"
    browser.run(f"(() => {{ const a = {attack}; document.body.append(a); a.click(); }})()")
    browser.settle()
    assert len(browser.errors) == 3, browser.errors
    browser.errors.clear()


@needs_chromium
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(browser: Chromium, theme: str) -> None:
    browser.run(f"setTheme('{theme}', false)")
    for action in ("setShown([0, 1])", "show({ view: 'training' })", "show({ view: 'map' })", "openSample(4, 0)"):
        change(browser, action)
        told = browser.axe()
        assert told == [], f"after {action}: {json.dumps(told)}"
    browser.run("$('dialog').close()")


@pytest.mark.attack("page", "a caption that is a script, in the explorer's folder", "no file but the page has texts")
def test_scripts_beside_the_page_hold_numbers_alone(folder: Path) -> None:
    scripts = list((folder / "files").rglob("*.js"))
    assert scripts
    for script in scripts:
        text = script.read_text(encoding="ascii")
        assert re.fullmatch(rf'took\("{script.stem}","[A-Za-z0-9+/]+={{0,2}}"\);\n', text)
    page = (folder / "index.html").read_text(encoding="utf-8")
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None and "unsafe" not in policy[1]
    assert "default-src 'none'" in policy[1].replace("&#39;", "'") and page.count("<script") == 2
