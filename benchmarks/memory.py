"""Measure the memory of the jobs of the default target on synthetic images of 256 px, by the number of images.

Usage: ``python benchmarks/memory.py``, or ``--images 100 200 --cases explorer`` for some of it. It updates
``benchmarks/results/memory.csv`` and the table of ``docs/scaling.md``. Every job runs in a process of its own, on files
in a temporary folder (1 MB an image), which is removed. It takes some 15 minutes of two cores.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
from memory_cases import CASES, SLOW
from memory_inputs import Inputs, write_inputs, write_shards
from memory_page import write_memory_table
from peak_memory import measure_step

log = logging.getLogger("benchmark")

_HERE = Path(__file__).resolve().parent
SHARDS = "shards"


def main() -> None:
    """Run the benchmark, or one of its jobs, from the command line."""
    options = _options()
    if options.run:
        sys.stdout.write(json.dumps(_run(options.run, options.folder)))
        return
    logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
    if not options.page_only:
        rows: list[dict[str, Any]] = []
        for count in (*options.images, *options.large):
            with tempfile.TemporaryDirectory(prefix="dmin-memory-", dir=options.scratch) as scratch:
                rows += _measure(Path(scratch), count, options)
        options.out.mkdir(parents=True, exist_ok=True)
        _update(options.out / "memory.csv", pd.DataFrame(rows))
    if options.out == _HERE / "results":
        write_memory_table(pd.read_csv(options.out / "memory.csv"))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure the memory of jobs by the number of images.")
    parser.add_argument("--images", type=int, nargs="+", default=[250, 1000, 4000])
    parser.add_argument("--large", type=int, nargs="*", default=[12_000], help="sizes at which nothing is assembled")
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES), metavar="CASE")
    parser.add_argument("--scratch", type=Path, help="where the files lie meanwhile; default: the temporary folder")
    parser.add_argument("--page-only", action="store_true", help="only write the page from the table")
    parser.add_argument("--out", type=Path, default=_HERE / "results")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _measure(folder: Path, count: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    write_inputs(folder, count)
    given = set(SLOW)
    if count in options.large:
        # Encoding images takes longest, so the source stands for the assembled tables.
        given |= {"fetch_source", "assemble_dataset"}
        inputs = Inputs(folder)
        for table in (inputs.train, inputs.test):
            table.hardlink_to(inputs.source)
    else:
        given = {name for name in given if count > SLOW[name]}
    rows = []
    # All of them, since a job reads what earlier ones wrote; only those that were asked for are reported.
    for name in _with_shards(options.cases):
        if name in given:
            continue
        command = [sys.executable, str(_HERE / "memory.py"), "--run", name, "--folder", str(folder)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        if name in options.cases:
            rows.append({"job": name, "images": count, **json.loads(done.stdout.splitlines()[-1])})
            log.info("%6d %-32s %7.0f MB", count, name, rows[-1]["own_mb"])
    return rows


def _update(path: Path, rows: pd.DataFrame) -> None:
    """Put measurements in the place of those of the same jobs and sizes, in the order of the workflow."""
    keys = ["job", "images"]
    if path.exists():
        rows = pd.concat([pd.read_csv(path), rows]).drop_duplicates(keys, keep="last")
    order = {name: place for place, name in enumerate(CASES)}
    rows = rows.sort_values(keys, key=lambda column: column.map(order) if column.name == "job" else column)
    rows.to_csv(path, index=False, float_format="%.4g")


def _with_shards(cases: list[str]) -> list[str]:
    names = list(CASES)
    last = max(map(names.index, cases))
    skipped = {name for name in SLOW if name not in cases}
    names = [name for name in names[: last + 1] if name not in skipped]
    if "compress" in names:
        names.insert(names.index("compress"), SHARDS)
    return names


def _run(name: str, folder: Path) -> dict[str, float]:
    """Run a job and return what :func:`measure_step` measures; shards of gradients, which no job is, take nothing."""
    inputs = Inputs(folder)
    if name == SHARDS:
        write_shards(inputs)
        return {}
    return measure_step(CASES[name](inputs))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    main()
