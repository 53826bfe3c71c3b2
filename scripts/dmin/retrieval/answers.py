"""Where a search leaves its ranked lists, and what it took."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from dmin.attribution.ranking import ranked_frame
from dmin.attribution.sample_tables import SampleTables
from dmin.retrieval.search import Found
from dmin.runtime.atomic import write_parquet
from dmin.runtime.provenance import provenance

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answers:
    """Where a search leaves its ranked lists, and what it took."""

    top: Path
    metrics: Path


class Searched(Protocol):
    """What was searched: the ids of its rows and of the queries, and checksums of what both were read from."""

    train: list[str]
    asked: list[str]
    made_from: dict[str, str]


def write_lists(search: Searched, found: Found, tables: SampleTables, settings: Mapping[str, Any], top: Path) -> None:
    """Write the ranked lists of a search and how it was made."""
    frame = ranked_frame(found.labels, found.scores, search.asked, search.train, tables.subsets())
    write_parquet(frame, top, provenance(settings, search.made_from))


def latency(milliseconds: np.ndarray) -> dict[str, float]:
    """Return what metrics say of the latencies of the queries ``[Q]``."""
    log.info("%d queries, %.2f ms each (median)", len(milliseconds), np.median(milliseconds))
    p50, p95 = (float(np.percentile(milliseconds, share)) for share in (50, 95))
    return {"queries": len(milliseconds), "p50_ms": p50, "p95_ms": p95}
