"""Recall, latency and size of the HNSW indexes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from dmin.data.atomic import write_csv


def evaluate_retrieval(retrievals: Sequence[Path], indexes: Sequence[Path], out: Path) -> None:
    """Write one row per width and k: recall against exact, search latency, build seconds and index bytes.

    Args:
        retrievals: metrics of each retrieval, which name their width.
        indexes: metrics of each index, likewise.
    """
    built = {facts["v"]: facts for facts in (json.loads(path.read_text()) for path in indexes)}
    rows = []
    for path in retrievals:
        found = json.loads(path.read_text())
        for k, recall in sorted(found["recall"].items(), key=lambda entry: int(entry[0])):
            rows.append(
                {
                    "method": "dmin",
                    "v": found["v"],
                    "backend": "hnsw",
                    "k": int(k),
                    "recall": recall,
                    "p50_ms": round(found["p50_ms"], 4),
                    "p95_ms": round(found["p95_ms"], 4),
                    "build_seconds": round(built[found["v"]]["seconds"], 3),
                    "index_bytes": built[found["v"]]["bytes"],
                }
            )
    write_csv(pd.DataFrame(rows), out)
