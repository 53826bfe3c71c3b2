"""HNSW index over the concatenated sketches of all timesteps, by hnswlib."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

import hnswlib
import numpy as np

from dmin.attribution.ranking import ranked_frame
from dmin.data.subsets import read_subsets
from dmin.retrieval.search import IndexSearch
from dmin.runtime.atomic import atomic_path, write_json, write_parquet
from dmin.runtime.errors import UserError
from dmin.runtime.meter import Meter
from dmin.runtime.provenance import PROVENANCE, load_array, provenance

log = logging.getLogger(__name__)


def build_index(
    sketch: Path, links: int, ef_construction: int, seed: int, index: Path, description: Path, metrics: Path
) -> None:
    """Index the rows of a sketch ``[N, T, v]`` as vectors of length ``T * v`` under the inner product.

    Rows are inserted in order by one thread, so the same input gives the same index.

    Args:
        links: hnswlib's ``M``, the links per element.

    Raises:
        UserError: the disk is too small for the index, which holds the vectors in single precision.
    """
    rows = load_array(sketch, "sketch", "Sketch")
    count, dimension = len(rows), int(np.prod(rows.shape[1:]))
    require_space(index, 4 * count * dimension)
    graph = hnswlib.Index(space="ip", dim=dimension)
    with Meter() as meter:
        graph.init_index(max_elements=count, M=links, ef_construction=ef_construction, random_seed=seed)
        for start in range(0, count, 64):
            block = rows[start : start + 64].reshape(-1, dimension).astype(np.float32)
            graph.add_items(block, np.arange(start, start + len(block)), num_threads=1)
    with atomic_path(index) as temporary:
        graph.save_index(str(temporary))
    facts = json.loads(sketch.with_suffix(".json").read_text())
    config = {"M": links, "ef_construction": ef_construction, "seed": seed}
    made_from = facts.get(PROVENANCE, {}).get("sha256", {})
    write_json({**facts, **config, PROVENANCE: provenance(config, made_from, {"index": index})}, description)
    meter.write(metrics, samples=count, v=facts["v"], bytes=index.stat().st_size)
    log.info("%d vectors of length %d indexed in %.1f s", count, dimension, meter.seconds)


def require_space(index: Path, needed: int) -> None:
    """Check that the disk holds an index of ``needed`` bytes.

    Raises:
        UserError: it does not.
    """
    index.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(index.parent).free
    if free < needed:
        raise UserError(
            f"The index '{index}' needs {needed / 2**30:.1f} GiB of disk, and {free / 2**30:.1f} GiB are free; free "
            "some space or index a smaller width."
        )


def retrieve(
    index: Path,
    queries: Path,
    samples: Sequence[Path],
    ef: int,
    top_k: int,
    top: Path,
    metrics: Path,
) -> None:
    """Retrieve the ``top_k`` nearest training samples of every query and measure latency.

    Queries are searched one at a time by one thread; latency is the search alone, given the query's sketch.

    Raises:
        UserError: the index and the queries were made under different settings, the index is torn, or ``top_k``
            exceeds the training set.
    """
    search = IndexSearch(index, queries)
    with Meter() as meter:
        found = search.run(ef, top_k)
    frame = ranked_frame(found.labels, found.scores, search.asked, search.train, read_subsets(samples))
    write_parquet(frame, top)
    meter.write(
        metrics,
        v=search.v,
        ef=ef,
        queries=len(search.asked),
        p50_ms=float(np.percentile(found.milliseconds, 50)),
        p95_ms=float(np.percentile(found.milliseconds, 95)),
    )
    log.info("%d queries, %.2f ms each (median)", len(search.asked), np.median(found.milliseconds))
