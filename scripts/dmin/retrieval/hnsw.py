"""HNSW index over the concatenated sketches of all timesteps, by hnswlib."""

from __future__ import annotations

import errno
import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import hnswlib
import numpy as np

from dmin.attribution.sample_tables import SampleTables
from dmin.retrieval.answers import Answers, latency, write_lists
from dmin.retrieval.search import IndexSearch
from dmin.runtime.atomic import atomic_path, write_json
from dmin.runtime.errors import UserError
from dmin.runtime.meter import Meter
from dmin.runtime.provenance import PROVENANCE, load_array, provenance
from dmin.runtime.readers import read_json

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Construction:
    """How an index is built: hnswlib's ``M`` links per element, the candidates that it looks among, and its seed."""

    links: int
    ef_construction: int
    seed: int


@dataclass(frozen=True)
class IndexFiles:
    """The files of an index: hnswlib's own, the JSON file that describes it, and what building it cost."""

    index: Path
    description: Path
    metrics: Path


class IndexSettings(TypedDict):
    """How an HNSW index is searched: the candidates looked among, and the length of the ranked lists."""

    ef: int
    top_k: int


def build_index(sketch: Path, construction: Construction, files: IndexFiles) -> None:
    """Index the rows of a sketch ``[N, T, v]`` as vectors of length ``T * v`` under the inner product.

    Rows are inserted in order by one thread, so the same input gives the same index.

    Raises:
        UserError: the disk is too small for the index, which holds the vectors in single precision.
    """
    rows = load_array(sketch, "sketch", "Sketch")
    count, dimension = len(rows), int(np.prod(rows.shape[1:]))
    require_space(files.index, 4 * count * dimension)
    graph = hnswlib.Index(space="ip", dim=dimension)
    with Meter() as meter:
        graph.init_index(
            max_elements=count,
            M=construction.links,
            ef_construction=construction.ef_construction,
            random_seed=construction.seed,
        )
        for start in range(0, count, 64):
            block = rows[start : start + 64].reshape(-1, dimension).astype(np.float32)
            graph.add_items(block, np.arange(start, start + len(block)), num_threads=1)
    with atomic_path(files.index) as temporary:
        graph.save_index(str(temporary))
        # hnswlib does not look whether its bytes were taken.
        if temporary.stat().st_size != graph.index_file_size():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(files.index))
    facts = read_json(sketch.with_suffix(".json"))
    config = {
        "M": construction.links,
        "ef_construction": construction.ef_construction,
        "seed": construction.seed,
    }
    made_from = facts.get(PROVENANCE, {}).get("sha256", {})
    made = provenance(config, made_from, {"index": files.index})
    write_json({**facts, **config, PROVENANCE: made}, files.description)
    meter.write(files.metrics, backend="hnsw", samples=count, v=facts["v"], bytes=files.index.stat().st_size)
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


def retrieve(index: Path, queries: Path, tables: SampleTables, settings: IndexSettings, out: Answers) -> None:
    """Retrieve the nearest training samples of every query from an HNSW index and measure latency.

    Queries are searched one at a time by one thread; latency is the search alone, given the query's sketch.

    Args:
        queries: sketch of the queries at the width of the index.

    Raises:
        UserError: the index and the queries were made under different settings, the index is torn, or ``top_k``
            exceeds the training set.
    """
    search = IndexSearch(index, queries)
    with Meter() as meter:
        found = search.run(settings["ef"], settings["top_k"])
    write_lists(search, found, tables, settings, out.top)
    meter.write(out.metrics, backend="hnsw", v=search.v, ef=settings["ef"], **latency(found.milliseconds))
