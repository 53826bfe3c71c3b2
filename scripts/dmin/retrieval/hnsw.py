"""HNSW index over the concatenated sketches of all timesteps, by hnswlib."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path

import hnswlib
import numpy as np

from dmin.attribution.ranking import ranked_frame
from dmin.attribution.subsets import read_subsets
from dmin.data.atomic import atomic_path, write_json, write_parquet
from dmin.errors import UserError
from dmin.evaluation.meter import Meter
from dmin.gradients.shard import require_equal_metadata

log = logging.getLogger(__name__)

SAMPLE_KEYS = ("ids", "M", "ef_construction", "seed")


def build_index(
    sketch: Path, links: int, ef_construction: int, seed: int, index: Path, description: Path, metrics: Path
) -> None:
    """Index the rows of a sketch ``[N, T, v]`` as vectors of length ``T * v`` under the inner product.

    Rows are inserted in order by one thread, so the same input gives the same index.

    Args:
        links: hnswlib's ``M``, the links per element.
    """
    rows = np.load(sketch, mmap_mode="r")
    count, dimension = len(rows), int(np.prod(rows.shape[1:]))
    graph = hnswlib.Index(space="ip", dim=dimension)
    with Meter() as meter:
        graph.init_index(max_elements=count, M=links, ef_construction=ef_construction, random_seed=seed)
        for start in range(0, count, 64):
            block = rows[start : start + 64].reshape(-1, dimension).astype(np.float32)
            graph.add_items(block, np.arange(start, start + len(block)), num_threads=1)
    with atomic_path(index) as temporary:
        graph.save_index(str(temporary))
    facts = json.loads(sketch.with_suffix(".json").read_text())
    write_json({**facts, "M": links, "ef_construction": ef_construction, "seed": seed}, description)
    meter.write(metrics, samples=count, v=facts["v"], bytes=index.stat().st_size)
    log.info("%d vectors of length %d indexed in %.1f s", count, dimension, meter.seconds)


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
    facts = json.loads(index.with_suffix(".json").read_text())
    asked = json.loads(queries.with_suffix(".json").read_text())
    require_equal_metadata(
        {key: value for key, value in facts.items() if key not in SAMPLE_KEYS},
        {key: value for key, value in asked.items() if key not in SAMPLE_KEYS},
        str(index),
        str(queries),
    )
    if top_k > len(facts["ids"]):
        raise UserError(f"influence.top_k is {top_k}, but the training set has {len(facts['ids'])} samples; lower it.")
    sketches = np.load(queries, mmap_mode="r")
    vectors = sketches.reshape(len(sketches), -1)
    graph = hnswlib.Index(space="ip", dim=vectors.shape[1])
    try:
        graph.load_index(str(index))
    except RuntimeError as error:
        raise UserError(f"Index '{index}' is torn ({error}); delete it and run again.") from error
    graph.set_ef(ef)
    graph.set_num_threads(1)
    graph.knn_query(vectors[0].astype(np.float32), k=top_k)
    labels, scores, seconds = [], [], []
    with Meter() as meter:
        for row in vectors:
            vector = row.astype(np.float32)
            start = time.perf_counter()
            found, distances = graph.knn_query(vector, k=top_k)
            seconds.append(time.perf_counter() - start)
            labels.append(found[0])
            scores.append(1.0 - distances[0])
    frame = ranked_frame(np.stack(labels), np.stack(scores), asked["ids"], facts["ids"], read_subsets(samples))
    write_parquet(frame, top)
    milliseconds = 1000 * np.asarray(seconds)
    meter.write(
        metrics,
        v=facts["v"],
        ef=ef,
        queries=len(vectors),
        p50_ms=float(np.percentile(milliseconds, 50)),
        p95_ms=float(np.percentile(milliseconds, 95)),
    )
    log.info("%d queries, %.2f ms each (median)", len(vectors), np.median(milliseconds))
