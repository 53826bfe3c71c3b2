"""What attribution by each method costs, for readers: caching, one query, storage and memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dmin.evaluation.cost import Facts, Read, Stages, by_cache, by_width, indexed_method, read_stages, stage_width
from dmin.runtime.atomic import atomic_path, write_csv

COLUMNS = [
    "method", "v", "backend", "caching_seconds", "gradient_seconds_per_query", "search_seconds_per_query",
    "bytes_per_sample", "total_bytes", "share_of_uncompressed", "peak_memory_bytes", "samples", "queries", "hardware",
]  # fmt: skip
HEADINGS = [
    "method", "v", "search", "caching", "query: gradient", "query: search", "per sample", "total", "of uncompressed",
    "peak memory",
]  # fmt: skip


def evaluate_cost_summary(stages: Mapping[str, Sequence[Path]], read_caches: Read, table: Path, page: Path) -> None:
    """Write one row per method, width and backend, as CSV and as a Markdown page.

    Args:
        stages: metrics files of ``cache, query, compress, index, score, retrieve``.
        read_caches: the kinds of cache that each method reads.

    Caching is done once for the training set: the gradient pass, which methods that read one cache share, the fold to
    width v, and the index; summed over checkpoints where a method reads several. A query costs its gradients, averaged
    over the queries, and the search: scoring all training samples for the exact backend, reading their cache from disk
    and what a taught method learns included, or one search of the index. Bytes are those kept for the search:
    half-precision sketches and single-precision norms, the values that a taught method keeps, or the index; a method
    that reads the images themselves keeps none.
    ``share_of_uncompressed`` is over the single-precision gradients of the loss, ``4 N T P`` bytes. Peak memory is the
    largest of the stages involved.
    """
    rows = summary_rows(read_stages(stages), read_caches)
    frame = pd.DataFrame(rows, columns=COLUMNS).astype({"total_bytes": "Int64"})
    write_csv(frame, table)
    with atomic_path(page) as temporary:
        temporary.write_text(summary_page(frame), encoding="utf-8")


def summary_rows(read: Stages, read_caches: Read) -> list[dict[str, Any]]:
    """Return the rows of the summary, the uncompressed gradients first; :func:`evaluate_cost_summary` says how."""
    cached, asked = (by_cache(read[stage]) for stage in ("cache", "query"))
    samples, queries = (sum(facts["samples"] for facts in stage["loss"]) for stage in (cached, asked))
    raw = sum(facts["raw_bytes"] for facts in cached["loss"])

    def row(
        method: str, v: str, backend: str, folds: Sequence[Facts], search: Facts | None, size: int
    ) -> dict[str, Any]:
        once, each = (
            [f for name in _caches(read_caches, method, split) for f in made[name]]
            for split, made in (("train", cached), ("queries", asked))
        )
        facts = [*once, *folds, *each, *([search] if search else [])]
        return {
            "method": method,
            "v": v,
            "backend": backend,
            "caching_seconds": round(sum(fact["seconds"] for fact in [*once, *folds]), 3),
            "gradient_seconds_per_query": round(sum(fact["seconds"] for fact in each) / queries, 6),
            "search_seconds_per_query": round(search["seconds"] / queries, 6) if search else None,
            "bytes_per_sample": round(size / samples, 1),
            "total_bytes": size,
            "share_of_uncompressed": size / raw,
            "peak_memory_bytes": max(fact["peak_memory_bytes"] for fact in facts),
            "samples": samples,
            "queries": queries,
            "hardware": facts[0]["hardware"],
        }

    def folds(method: str, v: str) -> list[Facts]:
        return by_width(read["compress"], _caches(read_caches, method, "train"))[v]

    def norms(method: str) -> int:
        return sum(
            4 * facts["samples"] * facts["timesteps"]
            for name in _caches(read_caches, method, "train")
            for facts in cached[name]
        )

    rows = [row("uncompressed", "full", "", [], None, raw)]
    for path, facts in read["score"]:
        method = facts["method"]
        if "kept_bytes" in facts:
            rows.append(row(method, "", "exact", [], facts, facts["kept_bytes"]))
        elif method not in read_caches:
            rows.append(row(method, "", "exact", [], facts, 0))
        elif (v := stage_width(path)) == "full":
            # Stored in half precision, the only form in which they are cached.
            rows.append(row(method, v, "exact", [], facts, raw // 2 + norms(method)))
        else:
            size = sum(fold["bytes"] for fold in folds(method, v)) + norms(method)
            rows.append(row(method, v, "exact", folds(method, v), facts, size))
    indexed = indexed_method(read)
    index = {stage_width(path): facts for path, facts in read["index"]}
    for path, facts in read["retrieve"]:
        v = stage_width(path)
        rows.append(row(indexed, v, "hnsw", [*folds(indexed, v), index[v]], facts, index[v]["bytes"]))
    return rows


def _caches(read_caches: Read, method: str, split: str) -> Sequence[str]:
    if method == "uncompressed":
        return ["loss"]
    return read_caches[method][split] if method in read_caches else []


def summary_page(frame: pd.DataFrame) -> str:
    """Return the summary as a Markdown page, in units for people."""
    first = frame.iloc[0]
    lines = [
        "# Cost of each method",
        "",
        f"{first['samples']:,} training samples, {first['queries']:,} queries; {first['hardware']}.",
        "Caching is done once; methods that read one cache share its gradient pass.",
        "",
        f"| {' | '.join(HEADINGS)} |",
        "|---" * len(HEADINGS) + "|",
    ]
    for entry in frame.to_dict("records"):
        cells = [
            str(entry["method"]),
            str(entry["v"]) or "-",
            str(entry["backend"]) or "-",
            _seconds(entry["caching_seconds"]),
            _seconds(entry["gradient_seconds_per_query"]),
            _seconds(entry["search_seconds_per_query"]),
            _bytes(entry["bytes_per_sample"]),
            _bytes(entry["total_bytes"]),
            f"{100 * entry['share_of_uncompressed']:.3g} %",
            _bytes(entry["peak_memory_bytes"]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _seconds(value: float) -> str:
    if pd.isna(value):
        return "-"
    if value == 0:
        return "0"
    return f"{value:,.1f} s" if value >= 1 else f"{1000 * value:.3g} ms"


def _bytes(value: float) -> str:
    if value == 0:
        return "0"
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.3g} {unit}" if value < 1000 else f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:,.1f} GiB"
