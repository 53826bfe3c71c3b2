"""What attribution by each method costs, for readers: caching, one query, storage and memory."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dmin.data.atomic import atomic_path, write_csv
from dmin.evaluation.cost import stage_width

COLUMNS = [
    "method", "v", "backend", "caching_seconds", "gradient_seconds_per_query", "search_seconds_per_query",
    "bytes_per_sample", "total_bytes", "share_of_uncompressed", "peak_memory_bytes", "samples", "queries", "hardware",
]  # fmt: skip
HEADINGS = [
    "method", "v", "search", "caching", "query: gradient", "query: search", "per sample", "total", "of uncompressed",
    "peak memory",
]  # fmt: skip

Facts = Mapping[str, Any]


def evaluate_cost_summary(stages: Mapping[str, Sequence[Path]], table: Path, page: Path) -> None:
    """Write one row per method, width and backend, as CSV and as a Markdown page.

    Args:
        stages: metrics files of ``cache, query, compress, index, score, retrieve``.

    Caching is done once for the training set: the gradient pass, which all gradient methods share, the fold to width
    v, and the index. A query costs its gradients, averaged over the queries, and the search: scoring all training
    samples for the exact backend, reading their cache from disk included, or one search of the index. Bytes are those
    kept for the search: half-precision sketches and single-precision norms, or the index; a method that reads the
    images themselves keeps none. ``share_of_uncompressed`` is over single-precision gradients, ``4 N T P`` bytes.
    Peak memory is the largest of the stages involved.
    """
    rows = summary_rows({stage: [(path, _read(path)) for path in paths] for stage, paths in stages.items()})
    frame = pd.DataFrame(rows, columns=COLUMNS).astype({"total_bytes": "Int64"})
    write_csv(frame, table)
    with atomic_path(page) as temporary:
        temporary.write_text(summary_page(frame), encoding="utf-8")


def _read(path: Path) -> Facts:
    return json.loads(path.read_text())


def summary_rows(read: Mapping[str, Sequence[tuple[Path, Facts]]]) -> list[dict[str, Any]]:
    """Return the rows of the summary, the uncompressed gradients first; :func:`evaluate_cost_summary` says how."""
    cache, query = ([facts for _, facts in read[stage]] for stage in ("cache", "query"))
    compress, index = ({stage_width(path): facts for path, facts in read[stage]} for stage in ("compress", "index"))
    samples, queries = (sum(facts["samples"] for facts in stage) for stage in (cache, query))
    raw = sum(facts["raw_bytes"] for facts in cache)
    norms = sum(4 * facts["evaluations"] for facts in cache)
    gradient = sum(facts["seconds"] for facts in query) / queries

    def row(
        method: str, v: str, backend: str, once: Sequence[Facts], search: Facts | None, size: int
    ) -> dict[str, Any]:
        reads_gradients = bool(once)
        facts = [*once, *(query if reads_gradients else []), *([search] if search else [])]
        return {
            "method": method,
            "v": v,
            "backend": backend,
            "caching_seconds": round(sum(fact["seconds"] for fact in once), 3),
            "gradient_seconds_per_query": round(gradient, 6) if reads_gradients else 0.0,
            "search_seconds_per_query": round(search["seconds"] / queries, 6) if search else None,
            "bytes_per_sample": round(size / samples, 1),
            "total_bytes": size,
            "share_of_uncompressed": size / raw,
            "peak_memory_bytes": max(fact["peak_memory_bytes"] for fact in facts),
            "samples": samples,
            "queries": queries,
            "hardware": facts[0]["hardware"],
        }

    rows = [row("uncompressed", "full", "", cache, None, raw)]
    for path, facts in read["score"]:
        if path.parent.name == facts["method"]:
            rows.append(row(facts["method"], "", "exact", [], facts, 0))
        elif (v := stage_width(path)) == "full":
            # Stored in half precision, the only form in which they are cached.
            rows.append(row(facts["method"], v, "exact", cache, facts, raw // 2 + norms))
        else:
            rows.append(row(facts["method"], v, "exact", [*cache, compress[v]], facts, compress[v]["bytes"] + norms))
    for path, facts in read["retrieve"]:
        v = stage_width(path)
        rows.append(row("dmin", v, "hnsw", [*cache, compress[v], index[v]], facts, index[v]["bytes"]))
    return rows


def summary_page(frame: pd.DataFrame) -> str:
    """Return the summary as a Markdown page, in units for people."""
    first = frame.iloc[0]
    lines = [
        "# Cost of each method",
        "",
        f"{first['samples']:,} training samples, {first['queries']:,} queries; {first['hardware']}.",
        "Caching is done once; methods that read gradients share one gradient pass.",
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
