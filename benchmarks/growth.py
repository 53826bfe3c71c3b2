"""Measure how time and memory of the data path grow with the number of images, on synthetic ones of 32 px.

Usage: ``python benchmarks/growth.py``, or ``--images 1000 10000`` for some sizes. It updates
``benchmarks/results/growth.csv`` and the table of ``docs/scaling.md``. Every job runs in a process of its own, on two
threads, on files in a temporary folder, which is removed; 100,000 images take some five minutes and 4 GB of disk.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import memory_cases as cases
import pandas as pd
from growth_page import write_growth_table
from memory_inputs import Inputs, write_inputs, write_shards
from peak_memory import measure_step

from dmin.runtime.meter import hardware_label

log = logging.getLogger("benchmark")

RESULTS = Path(__file__).resolve().parent / "results"
SIDE, PROMPT = 32, (8, 128)
SHARDS = "shards"
# In the order of the workflow: a job reads what those before it wrote.
CASES: dict[str, Callable[[Inputs], cases.Step]] = {
    "fetch_source": cases.fetch,
    "assemble_dataset": cases.assemble,
    "encode_samples": cases.encode,
    "compress": cases.compress,
    "score": cases.score_gradients,
    "score_samples": cases.score_images("random"),
    "explorer": cases.explorer,
    "verify": cases.verify,
}


def main() -> None:
    """Run the benchmark, or one of its jobs, from the command line."""
    parser = argparse.ArgumentParser(description="Measure growth with the number of images.")
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--scratch", type=Path, help="where the files lie meanwhile; default: the temporary folder")
    parser.add_argument("--page-only", action="store_true", help="only write the page from the table")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--run", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        sys.stdout.write(json.dumps(run(options.run, Inputs(options.folder, SIDE, PROMPT))))
        return
    logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
    table = options.out / "growth.csv"
    if not options.page_only:
        options.out.mkdir(parents=True, exist_ok=True)
        for count in options.images:
            with tempfile.TemporaryDirectory(prefix="dmin-growth-", dir=options.scratch) as scratch:
                for row in measure(Path(scratch), count):
                    update(table, row)
    if options.out == RESULTS:
        write_growth_table(pd.read_csv(table))


def measure(folder: Path, count: int) -> list[dict[str, Any]]:
    """Run every job on ``count`` images and return a row for each."""
    write_inputs(folder, count, SIDE, distinct=True)
    rows = []
    for name in (*list(CASES)[:3], SHARDS, *list(CASES)[3:]):
        command = [sys.executable, str(Path(__file__).resolve()), "--run", name, "--folder", str(folder)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        if name != SHARDS:
            row = {"job": name, "images": count, **json.loads(done.stdout.splitlines()[-1])}
            rows.append(row | {"device": hardware_label()})
            log.info("%7d %-20s %8.2f CPU-s %6.0f MB", count, name, row["cpu_seconds"], row["own_mb"])
    return rows


def run(name: str, inputs: Inputs) -> dict[str, float]:
    """Run a job, with what it imports imported before, and return its CPU-seconds, seconds and memory."""
    if name == SHARDS:
        write_shards(inputs)
        return {}
    step = CASES[name](inputs)
    before = time.process_time()
    found = measure_step(step)
    return {"cpu_seconds": time.process_time() - before, **found}


def update(path: Path, row: dict[str, Any]) -> None:
    """Put a measurement in the place of that of the same job and size."""
    rows = pd.DataFrame([row])
    if path.exists():
        rows = pd.concat([pd.read_csv(path), rows]).drop_duplicates(["job", "images"], keep="last")
    order = {name: place for place, name in enumerate(CASES)}
    rows = rows.sort_values(["job", "images"], key=lambda column: column.map(order) if column.name == "job" else column)
    rows.to_csv(path, index=False, float_format="%.4g")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    main()
