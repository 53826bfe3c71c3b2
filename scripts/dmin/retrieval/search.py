"""Search of a built HNSW index, one query at a time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import hnswlib
import numpy as np

from dmin.gradients.shard import require_equal_metadata
from dmin.runtime.errors import UserError
from dmin.runtime.provenance import PROVENANCE, load_array, require_whole
from dmin.runtime.readers import read_json

SAMPLE_KEYS = ("ids", "M", "ef_construction", "seed", PROVENANCE)


@dataclass(frozen=True)
class Found:
    """Indices of training samples ``[Q, k]``, best first, their scores ``[Q, k]``, milliseconds per query ``[Q]``."""

    labels: np.ndarray
    scores: np.ndarray
    milliseconds: np.ndarray


class IndexSearch:
    """An index with the queries it is searched for; ``train`` and ``asked`` are the ids of its rows and of the queries.

    ``made_from`` are the checksums of the ``index`` and of the ``queries``.

    Args:
        index: made by ``build_index``, its description beside it.
        queries: sketch ``[Q, T, v]``, its description beside it.

    Raises:
        UserError: the index and the queries were made under different settings, or the index is torn.
    """

    def __init__(self, index: Path, queries: Path) -> None:
        facts, asked = (read_json(path.with_suffix(".json")) for path in (index, queries))
        left, right = ({key: value for key, value in side.items() if key not in SAMPLE_KEYS} for side in (facts, asked))
        require_equal_metadata(left, right, str(index), str(queries))
        self._index, self._links = index, facts["M"]
        self.v: int = facts["v"]
        self.train: list[str] = facts["ids"]
        self.asked: list[str] = asked["ids"]
        sides = (("index", facts, "index"), ("queries", asked, "sketch"))
        self.made_from = {side: made[PROVENANCE]["sha256"][role] for side, made, role in sides if PROVENANCE in made}
        require_whole(index, "index", "Index", facts)
        sketches = load_array(queries, "sketch", "Sketch")
        self._vectors = sketches.reshape(len(sketches), -1)
        self._graph = hnswlib.Index(space="ip", dim=self._vectors.shape[1])
        try:
            self._graph.load_index(str(index))
        except RuntimeError as error:
            raise UserError(f"Index '{index}' is torn ({error}); delete it and run again.") from error
        self._graph.set_num_threads(1)
        # The first search is slower than all others.
        self._graph.knn_query(self._vectors[0].astype(np.float32), k=1)

    def run(self, ef: int, top_k: int, asked: Sequence[int] | None = None) -> Found:
        """Find the ``top_k`` nearest training samples of every query among ``ef`` candidates.

        Queries are searched one at a time by one thread; the time is that of the search alone, given the sketch.

        Args:
            asked: the places of the queries to ask; all when None.

        Raises:
            UserError: ``top_k`` exceeds the training set, or the samples that can be reached from the entry.
        """
        if top_k > len(self.train):
            raise UserError(
                f"influence.top_k is {top_k}, but the training set has {len(self.train)} samples; lower it."
            )
        self._graph.set_ef(ef)
        labels, scores, seconds = [], [], []
        for row in self._vectors if asked is None else self._vectors[list(asked)]:
            vector = row.astype(np.float32)
            start = time.perf_counter()
            try:
                found, distances = self._graph.knn_query(vector, k=top_k)
            except RuntimeError as error:
                raise UserError(
                    f"Index '{self._index}' leads to fewer than {top_k} of its {len(self.train)} samples, because its "
                    f"links are too few (hnsw.M is {self._links}); raise hnsw.M or hnsw.ef_construction, or lower "
                    "influence.top_k."
                ) from error
            seconds.append(time.perf_counter() - start)
            labels.append(found[0])
            scores.append(1.0 - distances[0])
        return Found(np.stack(labels), np.stack(scores), 1000 * np.asarray(seconds))
