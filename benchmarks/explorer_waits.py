"""Measure the explorer in a Chromium: how long a reader waits for what was clicked to be painted.

Usage: ``python benchmarks/explorer_waits.py``, in a minute of one core. It updates
``benchmarks/results/explorer.csv`` and the table of ``docs/explorer.md``. The page has 1,008 training and 120 generated
images of 32 px and four rankings.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import sys
import tempfile
from pathlib import Path

import pandas as pd
from page_part import write_part

from dmin.figures.explorer import write_explorer
from dmin.figures.explorer_data import About
from dmin.runtime.errors import UserError
from dmin.runtime.meter import hardware_label

ROOT = Path(__file__).resolve().parents[1]
# The browser that the tests drive, and their fabricated run.
sys.path.insert(0, str(ROOT / "tests" / "helpers"))

from chromium import Chromium, find_chromium  # noqa: E402
from explored_run import ExploredRun, make_beside, make_queries, make_ranking, make_samples  # noqa: E402

log = logging.getLogger("benchmark")

RESULTS, PAGE = ROOT / "benchmarks" / "results", ROOT / "docs" / "explorer.md"
OPENED = "the page opens"
# What stands before, and what a reader does; {place} counts the rounds.
ACTIONS = {
    "next generated image": ("setShown([0]); show({ view: 'images' })", "show({ query: 1 + {place} })"),
    "next one, two rankings side by side": ("setShown([0, 1])", "show({ query: 1 + {place} })"),
    "next one, four rankings side by side": ("setShown([0, 1, 2, 3])", "show({ query: 1 + {place} })"),
    "a training image": ("setShown([0])", "openSample(rankings[0].top[state.query][{place}], 0)"),
    "a letter of a search in the training set": (
        "$('dialog').close(); show({ view: 'training' })",
        "state.trainText = 'file {place}'; refilter()",
    ),
    "next one, on the map": ("state.trainText = ''; show({ view: 'map' })", "show({ query: 1 + {place} })"),
    "next one, its contributors": ("show({ view: 'contributors' })", "show({ query: 1 + {place} })"),
}
_FIRST_PAINT = (
    "new Promise((done) => new PerformanceObserver((list) => done(list.getEntries()[0].startTime))"
    ".observe({ type: 'paint', buffered: true }))"
)
_PAINTED = "await new Promise((done) => requestAnimationFrame(() => setTimeout(done)))"


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description="Measure how long a reader of the explorer waits.")
    parser.add_argument("--samples", type=int, default=1008)
    parser.add_argument("--queries", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--page-only", action="store_true", help="only write the page from the table")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
    table = options.out / "explorer.csv"
    if not options.page_only:
        program = find_chromium()
        if program is None:
            raise UserError("No Chromium is installed; install one, or google-chrome.")
        with tempfile.TemporaryDirectory(prefix="dmin-explorer-") as folder:
            found = measure(Path(folder), program, (options.samples, options.queries), options.rounds)
        options.out.mkdir(parents=True, exist_ok=True)
        found.to_csv(table, index=False, float_format="%.1f")
    if options.out == RESULTS:
        write_part(PAGE, "waits", waits(pd.read_csv(table)))


def measure(folder: Path, program: str, sizes: tuple[int, int], rounds: int) -> pd.DataFrame:
    """Return for each action the median, least and greatest of ``rounds`` waits, in ms, on a page of ``sizes``
    (training images, generated images)."""
    queries, samples = make_queries(count=sizes[1], size=32), make_samples(sizes[0], size=32)
    rankings = {f"method {seed}": make_ranking(queries, samples, 100, seed) for seed in range(4)}
    made = ExploredRun.write(folder / "made", queries, samples, rankings)
    page = folder / "page.html"
    write_explorer(page, made.tables, rankings, About("fabricated", {}, 24), make_beside(queries, samples))
    rows = []
    with Chromium(program, folder / "browser") as browser:
        waits = []
        for _ in range(rounds):
            browser.open(page)
            waits.append(browser.run(_FIRST_PAINT))
        rows.append((OPENED, waits))
        for name, (before, action) in ACTIONS.items():
            browser.run(f"{before}; 0")
            rows.append((name, [_waited(browser, action.replace("{place}", str(at))) for at in range(rounds)]))
    found = [(name, statistics.median(waits), min(waits), max(waits)) for name, waits in rows]
    for name, *waited in found:
        log.info("%-45s %6.0f ms (%.0f to %.0f)", name, *waited)
    columns = ["action", "median_ms", "least_ms", "greatest_ms"]
    return pd.DataFrame(found, columns=columns).assign(samples=sizes[0], queries=sizes[1], device=hardware_label())


def _waited(browser: Chromium, action: str) -> float:
    """Return the ms from an action to the frame after it, once what earlier ones left to do is done."""
    for _ in range(3):
        browser.settle()
    timed = (
        f"(async () => {{ const from = performance.now(); {action}; {_PAINTED}; return performance.now() - from; }})()"
    )
    return float(browser.run(timed))


def waits(table: pd.DataFrame) -> str:
    """Return the table of the page: a row per action."""
    first = table.iloc[0]
    lines = [
        f"{first['samples']:,} training images, {first['queries']} generated ones, four rankings; {first['device']}.",
        "",
        "| what is done | ms until it is painted | least to greatest |",
        "|---|---:|---:|",
    ]
    rows = table.to_dict("records")
    lines += [
        f"| {row['action']} | {row['median_ms']:.0f} | {row['least_ms']:.0f} to {row['greatest_ms']:.0f} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(str(error))
