"""Time compression, exact search and the HNSW index on synthetic stores of growing size.

Usage: ``python benchmarks/scaling.py``, or ``--rows 1000 --index-rows 1000`` for a small trial. It writes
``benchmarks/results/scaling.csv``, ``scaling.md`` and the figure. Stores lie in a temporary folder, two copies of
``2 * rows * width`` bytes at a time (16 GiB for a million rows), and are removed.
"""

from __future__ import annotations

import os

# Before NumPy is loaded: spans go to threads, so that BLAS needs one.
os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import logging
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from peak_memory import peak_extra_bytes
from scaling_page import write_scaling_page
from scaling_store import write_queries, write_store

from dmin.gradients.compress import compress
from dmin.retrieval.hnsw import Construction, IndexFiles, build_index
from dmin.retrieval.scan import scan
from dmin.retrieval.search import IndexSearch
from dmin.runtime.meter import hardware_label
from dmin.runtime.provenance import load_array

log = logging.getLogger("benchmark")

_HERE = Path(__file__).resolve().parent
TOP_K, QUERIES = 100, 16
LINKS, EF_CONSTRUCTION, EF = 16, 200, 500
Row = dict[str, Any]


def main() -> None:
    """Run the benchmark from the command line."""
    options = _options()
    logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
    options.out.mkdir(parents=True, exist_ok=True)
    if not options.page_only:
        rows: list[Row] = []
        for count in options.rows:
            with tempfile.TemporaryDirectory(prefix="dmin-scaling-", dir=options.scratch) as scratch:
                rows += _measure(Path(scratch), count, options)
        _write(pd.DataFrame(rows), options)
    write_scaling_page(options.out)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time compression, exact search and the index against size.")
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--index-rows", type=int, default=100_000, help="largest store that is indexed")
    parser.add_argument("--width", type=int, default=4096)
    parser.add_argument("--folded", type=int, default=256, help="width of the compressed store and of the index")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--scratch", type=Path, help="where the stores lie meanwhile; default: the temporary folder")
    parser.add_argument("--page-only", action="store_true", help="only write the page from the table")
    parser.add_argument("--out", type=Path, default=_HERE / "results")
    return parser.parse_args()


def _measure(folder: Path, count: int, options: argparse.Namespace) -> list[Row]:
    shards, store = write_store(folder / "store", count, options.width)
    queries = write_queries(folder / "queries.npy", QUERIES, options.width, options.folded)
    sketch = folder / "train.npy"
    rows = [_once("compress", store, lambda: _compress(shards, options.folded, sketch))]
    for shard in shards:
        shard.unlink()
    rows += _search(store, queries, options)
    if count <= options.index_rows:
        rows += _index(sketch, folder / "queries.npy")
    for row in rows:
        row.setdefault("width", options.width)
        row |= {"rows": count, "load": os.getloadavg()[0]}
        log.info("%9d %-13s %9.3f s", count, row["operation"], row["seconds"])
    return rows


def _compress(shards: list[Path], width: int, sketch: Path) -> None:
    compress(shards, width, sketch, sketch.with_suffix(".json"), sketch.with_suffix(".metrics.json"))


def _search(store: Path, queries: np.ndarray, options: argparse.Namespace) -> list[Row]:
    """Time reading the file and scanning it in turn: from memory, then from disk."""

    def search(asked: np.ndarray, threads: int) -> None:
        scan(load_array(store, "sketch", "Sketch"), asked, TOP_K, threads)

    steps: dict[str, Callable[[], None]] = {
        "read": lambda: _read(store),
        "scan": lambda: search(queries[:1], options.threads),
        "scan_queries": lambda: search(queries, options.threads),
    }
    # The first run, which is not timed, loads what is loaded once and brings the file into memory.
    peaks = {name: peak_extra_bytes(steps[name], torch.device("cpu")) for name in ("scan", "scan_queries")}
    times: dict[str, list[float]] = {name: [] for name in (*steps, "read_cold", "scan_cold")}
    for _ in range(options.repeats):
        for name, step in steps.items():
            times[name].append(_time(step))
    for _ in range(min(3, options.repeats)):
        for name in ("read", "scan"):
            times[f"{name}_cold"].append(_cold(store, steps[name]))
    rows = []
    for name, values in times.items():
        beside = times["read_cold" if name.endswith("cold") else "read"]
        rows.append(
            {
                "operation": name,
                "seconds": statistics.median(values),
                "bytes": store.stat().st_size,
                "peak_extra_bytes": peaks.get(name),
                # Of each round, since the two of a round share the machine's load.
                "fraction_of_read": statistics.median(a / b for a, b in zip(beside, values, strict=True)),
            }
        )
    return rows


def _index(sketch: Path, queries: Path) -> list[Row]:
    index = sketch.with_name("index.hnsw")
    files = IndexFiles(index, index.with_suffix(".json"), index.with_suffix(".metrics.json"))
    construction = Construction(LINKS, EF_CONSTRUCTION, 0)
    build = _once("build_index", sketch, lambda: build_index(sketch, construction, files))
    found = IndexSearch(index, queries).run(EF, TOP_K)
    exact, _ = scan(load_array(sketch, "sketch", "Sketch"), load_array(queries, "sketch", "Sketch"), TOP_K)
    recall = np.mean([len({*a} & {*b}) / TOP_K for a, b in zip(found.labels, exact, strict=True)])
    width = load_array(sketch, "sketch", "Sketch").shape[-1]
    search = {"operation": "search_index", "seconds": float(np.median(found.milliseconds)) / 1000, "recall": recall}
    return [build | {"width": width, "bytes": index.stat().st_size}, search | {"width": width}]


def _once(name: str, source: Path, step: Callable[[], object]) -> Row:
    seconds = []
    peak = peak_extra_bytes(lambda: seconds.append(_time(step)), torch.device("cpu"))
    return {"operation": name, "seconds": seconds[0], "bytes": source.stat().st_size, "peak_extra_bytes": peak}


def _read(path: Path) -> None:
    buffer = bytearray(2**20)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def _cold(path: Path, step: Callable[[], object]) -> float:
    """Time a step on a file of which nothing is in memory."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return _time(step)


def _time(step: Callable[[], object]) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def _write(table: pd.DataFrame, options: argparse.Namespace) -> None:
    columns = ["rows", "operation", "width", "seconds", "bytes", "fraction_of_read", "peak_extra_bytes", "recall"]
    table = table.reindex(columns=[*columns, "load"])
    table = table.assign(hardware=hardware_label(), threads=options.threads)
    table.to_csv(options.out / "scaling.csv", index=False, float_format="%.5g")


if __name__ == "__main__":
    main()
