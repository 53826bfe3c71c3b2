"""What the settings of an HNSW index give and cost: the supplement's Table 6, with recall, time and size."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pandas as pd

from dmin.attribution.ranking import ranked_frame
from dmin.attribution.sample_tables import SampleTables
from dmin.evaluation.detection import hits_at
from dmin.evaluation.retrieval_table import recall_at
from dmin.retrieval.hnsw import IndexFiles
from dmin.retrieval.search import IndexSearch
from dmin.runtime.atomic import write_csv
from dmin.runtime.parquet import read_parquet
from dmin.runtime.readers import read_json

log = logging.getLogger(__name__)

COLUMNS = ["M", "ef_construction", "ef", "subset", "rate", "recall", "build_seconds", "index_bytes", "p50_ms", "p95_ms"]


def quality_rows(found: pd.DataFrame, exact: pd.DataFrame, ks: Sequence[int]) -> list[dict[str, Any]]:
    """Return detection rate and recall against the exact lists, averaged over every k, per subset and as their mean.

    Args:
        found: ranked lists, columns ``query_id, query_subset, rank, sample_id, sample_subset``; ``exact`` likewise.
    """
    rows = []
    for subset in sorted({*exact["query_subset"]}):
        part, truth = (frame[frame["query_subset"] == subset] for frame in (found, exact))
        rate = np.mean([hits_at(part, k)["rate"].mean() for k in ks])
        recall = np.mean([recall_at(part, truth, k) for k in ks])
        rows.append({"subset": subset, "rate": float(rate), "recall": float(recall)})
    mean = {name: float(np.mean([row[name] for row in rows])) for name in ("rate", "recall")}
    return [*rows, {"subset": "mean", **mean}]


class Searches(TypedDict):
    """How an index is searched and judged.

    ``ef`` candidates, one search each; ``k`` lengths of the list over which rate and recall are averaged; ``top_k``
    samples that each search returns, as everywhere in the run.
    """

    ef: list[int]
    k: list[int]
    top_k: int


def search_index(
    files: IndexFiles, queries: Path, exact: Path, tables: SampleTables, settings: Searches, out: Path
) -> None:
    """Search one index with every ``ef`` and write its rows of the ablation.

    Args:
        queries: sketch of the queries at the width of the index.
        exact: the exact ranked lists at the same width.

    Raises:
        UserError: the index is torn or was made under other settings than the queries.
    """
    cost, described = (read_json(path) for path in (files.metrics, files.description))
    truth = read_parquet(exact)
    subsets = tables.subsets()
    search = IndexSearch(files.index, queries)
    rows: list[dict[str, Any]] = []
    for ef in sorted(settings["ef"]):
        found = search.run(ef, settings["top_k"])
        lists = ranked_frame(found.labels, found.scores, search.asked, search.train, subsets)
        p50, p95 = np.percentile(found.milliseconds, [50, 95])
        rows += [
            {
                "M": described["M"],
                "ef_construction": described["ef_construction"],
                "ef": ef,
                "build_seconds": round(cost["seconds"], 3),
                "index_bytes": cost["bytes"],
                "p50_ms": round(p50, 4),
                "p95_ms": round(p95, 4),
                **quality,
            }
            for quality in quality_rows(lists, truth, settings["k"])
        ]
        log.info("ef %d: recall %.4f, rate %.4f, %.2f ms", ef, rows[-1]["recall"], rows[-1]["rate"], p50)
    write_csv(pd.DataFrame(rows, columns=COLUMNS), out)
