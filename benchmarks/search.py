"""Time the ways to retrieve on synthetic stores: exact scan, cascade at several ranks, and HNSW.

Usage: ``python benchmarks/search.py``, or ``--cases 500x512 --queries 20`` for a small trial. It writes
``benchmarks/results/search.csv`` and the table in docs/scaling.md. Searches take turns, query by query, each by one
thread. Rows are normal draws in 512 shared directions of falling strength, as strong as those of the example's
gradients, a fifth of them near copies of others; the rest is noise of their own.
"""

from __future__ import annotations

import os

# Before NumPy is loaded: every search is by one thread.
os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from search_page import write_search_table

from dmin.retrieval.cascade import CascadeFiles, Subspace, build_cascade
from dmin.retrieval.cascade_search import CascadeSearch
from dmin.retrieval.hnsw import Construction, IndexFiles, build_index
from dmin.retrieval.scan import scan
from dmin.retrieval.search import Found, IndexSearch
from dmin.runtime.atomic import write_csv, write_json
from dmin.runtime.meter import hardware_label
from dmin.runtime.provenance import PROVENANCE, load_array, provenance
from dmin.runtime.readers import read_json

log = logging.getLogger("benchmark")

RESULTS = Path(__file__).resolve().parent / "results"
# Rows and values of each, and whether an HNSW index is built, which takes hours for a million rows.
CASES = ("1008x40960", "9288x20480", "1000000x4096")
MOST_INDEXED = 10_000
RANKS, TOP_K, DELTA = (64, 128, 256), 20, 1e-3
LINKS, EF_CONSTRUCTION, EF = 16, 200, 500
# What 16, 32, 64, 128 and 256 leading directions hold of the squared norms of the example's sketches at v = 4096.
_ENERGY = {0: 0.0, 16: 0.304, 32: 0.386, 64: 0.486, 128: 0.606, 256: 0.743, 512: 0.87}
_BLOCK = 4096


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", default=CASES, help="rows x values")
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--ranks", nargs="+", type=int, default=RANKS)
    parser.add_argument("--scratch", type=Path, help="where stores lie meanwhile")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--page-only", action="store_true", help="write the page from the table")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
    if not options.page_only:
        rows: list[dict[str, Any]] = []
        for case in options.cases:
            count, width = (int(part) for part in case.split("x"))
            with tempfile.TemporaryDirectory(prefix="dmin-search-", dir=options.scratch) as scratch:
                rows += measure(Path(scratch), (count, width, options.queries), options.ranks)
            options.out.mkdir(parents=True, exist_ok=True)
            write_csv(pd.DataFrame(rows), options.out / "search.csv")
    if options.out == RESULTS:
        write_search_table(pd.read_csv(RESULTS / "search.csv", comment="#"))


def measure(scratch: Path, sizes: tuple[int, int, int], ranks: list[int]) -> list[dict[str, Any]]:
    """Build what each backend needs and search it, and return a row for each.

    Args:
        sizes: rows, values of each, and queries.
    """
    count, width, asked = sizes
    train, queries = scratch / "train.npy", scratch / "queries.npy"
    write_sketch(train, "s", count, width, seed=0)
    write_sketch(queries, "q", asked, width, seed=1)
    searches: dict[str, Callable[[int], tuple[Any, ...]]] = {"exact": _scanning(train, queries)}
    built: dict[str, tuple[float, int]] = {"exact": (0.0, 0)}
    for rank in ranks:
        index = scratch / f"r{rank}.safetensors"
        files = CascadeFiles(index, index.with_suffix(".json"), index.with_suffix(".metrics.json"))
        build_cascade(train, Subspace(rank, 0), files)
        built[f"cascade {rank}"] = _cost(files.metrics)
        searches[f"cascade {rank}"] = _cascade(CascadeSearch(index, train, queries))
    if count <= MOST_INDEXED:
        hnsw = scratch / "index.hnsw"
        files = IndexFiles(hnsw, hnsw.with_suffix(".json"), hnsw.with_suffix(".metrics.json"))
        build_index(train, Construction(LINKS, EF_CONSTRUCTION, 100), files)
        built["hnsw"] = _cost(files.metrics)
        searches["hnsw"] = _hnsw(IndexSearch(hnsw, queries))
    answers = _interleaved(searches, asked)
    return [_row(name, sizes, answers[name], answers["exact"], built[name]) for name in searches]


def _interleaved(searches: dict[str, Callable[[int], tuple[Any, ...]]], asked: int) -> dict[str, list[tuple[Any, ...]]]:
    """Ask every query of every search in turn; return the time in ms and what was found of each."""
    answers: dict[str, list[tuple[Any, ...]]] = {name: [] for name in searches}
    for number in range(asked):
        for name, search in searches.items():
            start = time.perf_counter()
            found = search(number)
            answers[name].append((1000 * (time.perf_counter() - start), *found))
    return answers


def _scanning(train: Path, queries: Path) -> Callable[[int], tuple[Any, ...]]:
    rows, asked = load_array(train, "sketch", "Sketch"), np.load(queries, allow_pickle=False)
    return lambda number: (scan(rows, asked[number : number + 1], TOP_K)[0][0],)


def _cascade(search: CascadeSearch) -> Callable[[int], tuple[Any, ...]]:
    def ask(number: int) -> tuple[Any, ...]:
        found = search.run(DELTA, TOP_K, [number])
        return found.labels[0], int(found.looked[0]), float(found.chances[0])

    return ask


def _hnsw(search: IndexSearch) -> Callable[[int], tuple[Any, ...]]:
    def ask(number: int) -> tuple[Any, ...]:
        found: Found = search.run(EF, TOP_K, [number])
        return (found.labels[0],)

    return ask


def _cost(metrics: Path) -> tuple[float, int]:
    facts = read_json(metrics)
    return facts["seconds"], facts["bytes"]


def _row(
    name: str,
    sizes: tuple[int, int, int],
    answers: list[tuple[Any, ...]],
    exact: list[tuple[Any, ...]],
    cost: tuple[float, int],
) -> dict[str, Any]:
    backend, _, rank = name.partition(" ")
    times = np.array([answer[0] for answer in answers])
    shared = [len({*answer[1]} & {*truth[1]}) for answer, truth in zip(answers, exact, strict=True)]
    count, width, asked = sizes
    row = {"rows": count, "dimension": width, "backend": backend, "rank": rank, "top_k": TOP_K, "queries": asked}
    row |= {"p50_ms": round(float(np.median(times)), 4), "p95_ms": round(float(np.percentile(times, 95)), 4)}
    row |= {"recall": round(sum(shared) / (asked * TOP_K), 6), "wrong_lists": sum(same < TOP_K for same in shared)}
    certified = backend == "cascade"
    row |= {"looked": float(np.median([answer[2] for answer in answers])) if certified else None}
    row |= {"expected_wrong": round(sum(answer[3] for answer in answers), 4) if certified else None}
    log.info("%s: %s", name, row)
    return row | {"build_seconds": round(cost[0], 3), "index_bytes": cost[1], "device": hardware_label()}


def write_sketch(path: Path, prefix: str, count: int, width: int, seed: int) -> None:
    """Write ``count`` rows as a sketch of one timestep, with its description."""
    with path.open("wb") as file:
        header = {"descr": "<f2", "fortran_order": False, "shape": (count, 1, width)}
        np.lib.format.write_array_header_1_0(file, header)
        for block in draw_rows(count, width, seed):
            file.write(block.astype(np.float16).data)
    ids = [f"{prefix}/{number}" for number in range(count)]
    made = provenance({}, {}, {"sketch": path})
    facts = {"timesteps": [500], "sketch_seed": 0, "v": width, PROVENANCE: made, "ids": ids}
    write_json(facts, path.with_suffix(".json"))


def draw_rows(count: int, width: int, seed: int) -> Iterator[np.ndarray]:
    """Yield unit rows ``[n, width]`` in single precision."""
    draws, shared = np.random.default_rng(seed), np.random.default_rng(99)
    most = min(512, width // 4)
    directions = np.linalg.qr(shared.standard_normal((width, most)))[0].T.astype(np.float32)
    held = np.interp(np.arange(most + 1), list(_ENERGY), list(_ENERGY.values()))
    strength = np.sqrt(np.diff(held)).astype(np.float32)
    own = np.sqrt(1 - held[-1]) / np.sqrt(width)
    for start in range(0, count, _BLOCK):
        number = min(_BLOCK, count - start)
        # Heavy tails: some rows lie far out in a few directions.
        latent = draws.standard_t(4, (number, most)).astype(np.float32) / np.sqrt(2)
        rows = (latent * strength) @ directions + own * draws.standard_normal((number, width), dtype=np.float32)
        copies = number // 5
        rows[:copies] = 0.8 * rows[number - copies :] + 0.6 * rows[:copies]
        yield rows / np.linalg.norm(rows, axis=1, keepdims=True)


if __name__ == "__main__":
    main()
