"""Recall, latency and size of the ways to retrieve."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dmin.runtime.atomic import write_csv
from dmin.runtime.parquet import read_parquet
from dmin.runtime.readers import read_json

COLUMNS = ["method", "v", "backend", "k", "recall", "p50_ms", "p95_ms", "build_seconds", "index_bytes"]


def recall_at(found: pd.DataFrame, exact: pd.DataFrame, k: int) -> float:
    """Return the share of the exact top ``k`` that the retrieved top ``k`` holds, averaged over queries."""
    pairs = [
        set(zip(head["query_id"], head["sample_id"], strict=True))
        for head in (frame[frame["rank"] <= k] for frame in (found, exact))
    ]
    return len(pairs[0] & pairs[1]) / len(pairs[1])


def searched_method(path: Path) -> str:
    """Return the method whose sketches were searched, of a file at ``<method>/v<width>/hnsw/<file>``."""
    return path.parts[-4]


def evaluate_retrieval(
    found: Sequence[Path],
    exact: Sequence[Path],
    retrievals: Sequence[Path],
    indexes: Sequence[Path],
    depths: Sequence[int],
    out: Path,
) -> None:
    """Write one row per backend, width and k: recall against exact, search latency, build seconds and index bytes.

    Bytes are those beside the sketches; the exact scan has none, and builds nothing.

    Args:
        found: the ranked list of each retrieval.
        exact: the exact ranked lists of the same widths, in the same order.
        retrievals: metrics of each retrieval, which name their backend and width, in the same order.
        indexes: metrics of each index, which name theirs.
        depths: the values of k.
    """
    built = {(facts["backend"], facts["v"]): facts for facts in (read_json(path) for path in indexes)}
    rows: list[dict[str, Any]] = []
    for answer, truth, metrics in zip(found, exact, retrievals, strict=True):
        facts = read_json(metrics)
        index = built.get((facts["backend"], facts["v"]), {"seconds": 0.0, "bytes": 0})
        got, wanted = (read_parquet(path, columns=["query_id", "rank", "sample_id"]) for path in (answer, truth))
        for k in sorted(depths):
            rows.append(
                {
                    "method": searched_method(answer),
                    "v": facts["v"],
                    "backend": facts["backend"],
                    "k": k,
                    "recall": recall_at(got, wanted, k),
                    "p50_ms": round(facts["p50_ms"], 4),
                    "p95_ms": round(facts["p95_ms"], 4),
                    "build_seconds": round(index["seconds"], 3),
                    "index_bytes": index["bytes"],
                }
            )
    write_csv(pd.DataFrame(rows, columns=COLUMNS), out)
