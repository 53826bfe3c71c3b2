"""Time a step of training on one thread: a plain loop, the project's, and small models that are trained together.

Usage: ``python benchmarks/training.py``, three minutes of one core; ``--rounds 1 --steps 1`` for a trial. It writes
``benchmarks/results/training.csv`` and the table in docs/scaling.md. Each training is a process of its own, since the
project's changes how memory is kept; they take turns, a few steps each, and CPU time counts. Samples are random and
encoded beforehand.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import statistics
from pathlib import Path
from typing import Any

import pandas as pd
from training_cases import CASES, MULTIPLICATION, start_case
from training_page import write_training_table

from dmin.runtime.atomic import write_csv
from dmin.runtime.meter import hardware_label

log = logging.getLogger("benchmark")

RESULTS = Path(__file__).resolve().parent / "results"


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--rounds", type=int, default=6, help="turns of each training; the first does not count")
    parser.add_argument("--steps", type=int, default=4, help="steps of a turn")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--page-only", action="store_true", help="write the page from the table")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
    file = options.out / "training.csv"
    if not options.page_only:
        rows = measure(options.cases, options.rounds, options.steps, multiprocessing.get_context("spawn"))
        write_csv(pd.DataFrame(rows), file)
    if options.out == RESULTS:
        write_training_table(pd.read_csv(file))


def measure(cases: list[str], rounds: int, steps: int, context: Any, target: Any = start_case) -> list[dict[str, Any]]:
    """Run the trainings in turn and return a row of each: its median CPU time for a step of one model.

    Args:
        context: makes the processes, and the pipes to them.
        target: what each of them runs.
    """
    workers = {}
    for case in cases:
        ours, theirs = context.Pipe()
        process = context.Process(target=target, args=(case, theirs))
        process.start()
        workers[case] = (process, ours, ours.recv())
    times: dict[str, list[float]] = {case: [] for case in cases}
    for turn in range(rounds + 1):
        for case, (_, pipe, _) in workers.items():
            pipe.send(steps)
            times[case] += pipe.recv() if turn else pipe.recv()[:0]
    rows = []
    for case, (process, pipe, facts) in workers.items():
        pipe.send(0)
        process.join()
        milliseconds = 1e3 * statistics.median(times[case]) / facts["members"]
        rate = facts["flop"] / milliseconds / 1e6
        log.info("%-24s %7.1f ms a step and model, %5.1f GFLOP/s", case, milliseconds, rate)
        rows.append(
            {
                "case": case,
                **facts,
                "cpu_ms": milliseconds,
                "gflop_per_s": rate,
                "device": hardware_label() + ", 1 thread",
            }
        )
    if MULTIPLICATION in cases:
        fastest = next(row["gflop_per_s"] for row in rows if row["case"] == MULTIPLICATION)
        for row in rows:
            row["limit_ms"] = row["flop"] / fastest / 1e6
    return rows


if __name__ == "__main__":
    main()
