"""Exact search in two stages: products of low rank choose rows, full ones rank them, a certificate ends it."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch

from dmin.attribution.sample_tables import SampleTables
from dmin.gradients.shard import require_equal_metadata
from dmin.gradients.stream import TORCH_TILE
from dmin.models.sealed_tensors import SealedTensors
from dmin.retrieval.answers import Answers, latency, write_lists
from dmin.retrieval.cascade import require_finite, residual_norms
from dmin.retrieval.search import Found
from dmin.retrieval.tails import chance_of_more
from dmin.runtime.errors import UserError
from dmin.runtime.meter import Meter
from dmin.runtime.provenance import PROVENANCE, load_array
from dmin.runtime.readers import read_json

log = logging.getLogger(__name__)

SAMPLE_KEYS = ("ids", "rank", "seed", PROVENANCE)
# The full products taken before the certificate is first asked, and by how much they grow where it refuses.
FIRST, GROWTH = 100, 1.5


class CascadeSettings(TypedDict):
    """How a cascade is searched: the chance that a list lacks a row, and the length of the ranked lists."""

    delta: float
    top_k: int


@dataclass(frozen=True)
class Certified(Found):
    """What a cascade finds, with the rows looked at in full ``[Q]`` and the chance of a missed one ``[Q]``."""

    looked: np.ndarray
    chances: np.ndarray


class CascadeSearch:
    """A cascade and the queries it is searched for; ``train`` and ``asked`` are the ids of its rows and of the queries.

    ``made_from`` are the checksums of the ``index`` and of the ``queries``.

    Args:
        index: made by ``build_cascade``, its description beside it.
        sketch: the rows ``[N, T, v]`` that it was made from.
        queries: sketch ``[Q, T, v]``.

    Raises:
        UserError: index and queries were made under different settings, the index was made from another sketch, or a
            file is torn.
    """

    def __init__(self, index: Path, sketch: Path, queries: Path) -> None:
        facts, asked = (read_json(path.with_suffix(".json")) for path in (index, queries))
        left, right = ({key: value for key, value in side.items() if key not in SAMPLE_KEYS} for side in (facts, asked))
        require_equal_metadata(left, right, str(index), str(queries))
        self.v: int = facts["v"]
        self.train: list[str] = facts["ids"]
        self.asked: list[str] = asked["ids"]
        sides = (("index", facts, "index"), ("queries", asked, "sketch"))
        self.made_from = {side: made[PROVENANCE]["sha256"][role] for side, made, role in sides if PROVENANCE in made}
        rows = load_array(sketch, "sketch", "Sketch")
        # Private and so writable, which torch wants though nothing is written.
        private: np.ndarray = np.load(sketch, mmap_mode="c", allow_pickle=False)
        self._rows = private.reshape(len(rows), -1)
        made = facts.get(PROVENANCE, {}).get("made_from", {}).get("sketch")
        found = read_json(sketch.with_suffix(".json")).get(PROVENANCE, {}).get("sha256", {}).get("sketch")
        if made != found or len(rows) != len(self.train):
            raise UserError(f"Index '{index}' was made from another sketch than '{sketch}'; delete it and run again.")
        vectors = load_array(queries, "sketch", "Sketch")
        self._vectors = vectors.reshape(len(vectors), -1)
        with SealedTensors(index, "Index") as file:
            self._basis, self._coarse = file.tensor("basis"), file.tensor("coarse")
            self._residual = file.tensor("residual").numpy()
            self._edges, self._chances = file.tensor("edges").numpy(), file.tensor("chances").numpy()
        self._norms = self._coarse.norm(dim=1).numpy()
        torch.set_num_threads(1)
        # BLAS sums rows at the edge of a matrix in another order: in whole blocks, equal rows have equal products.
        self._tile = torch.zeros((max(16, TORCH_TILE // self._rows.shape[1] // 16 * 16), self._rows.shape[1]))
        # The first search is slower than all others.
        self._search(0, 1, 1.0)

    def run(self, delta: float, top_k: int, asked: Sequence[int] | None = None) -> Certified:
        """Find the ``top_k`` rows of largest product with every query; the chance that one is missed is ``delta``.

        Queries are searched one at a time by one thread; the time is that of the search alone, given the sketch.

        Args:
            asked: the places of the queries to ask; all when None.

        Raises:
            UserError: ``top_k`` exceeds the training set.
        """
        if top_k > len(self.train):
            raise UserError(
                f"influence.top_k is {top_k}, but the training set has {len(self.train)} samples; lower it."
            )
        answers, seconds = [], []
        for number in range(len(self._vectors)) if asked is None else asked:
            start = time.perf_counter()
            answers.append(self._search(number, top_k, delta))
            seconds.append(time.perf_counter() - start)
        labels, scores, looked, chances = (_stacked(side) for side in zip(*answers, strict=True))
        return Certified(labels, scores, 1000 * np.asarray(seconds), looked, chances)

    def _search(self, number: int, top_k: int, delta: float) -> tuple[np.ndarray, np.ndarray, int, float]:
        """Return the rows and their products, best first, how many were looked at in full, and the chance of a miss."""
        query = torch.from_numpy(self._vectors[number].astype(np.float32))
        near = query @ self._basis
        norms = float(near.norm()), float(residual_norms(query[None], near[None])[0])
        coarse = torch.mv(self._coarse, near).numpy()
        count = len(coarse)
        products = np.full(count, np.nan, dtype=np.float32)
        wanted = min(count, max(FIRST, 2 * top_k))
        while True:
            order = np.argpartition(-coarse, wanted - 1)[:wanted] if wanted < count else np.arange(count)
            fresh = np.sort(order[np.isnan(products[order])])
            products[fresh] = self._full_products(fresh, query)
            seen = np.flatnonzero(~np.isnan(products))
            best = seen[np.lexsort((seen, -products[seen]))[:top_k]]
            if len(seen) == count:
                return best, products[best], count, 0.0
            rest = np.flatnonzero(np.isnan(products))
            usual = self._chance(seen, coarse[seen], norms, products[seen])
            # Were residuals as elsewhere, the mean would be 1. Where tails are exponential, it is how many times as
            # large the residuals of this query are.
            larger = max(1.0, float(-np.log(np.maximum(usual, 1e-9)).mean()))
            chances = self._chance(rest, coarse[rest], norms, products[best[-1]]) ** (1 / larger)
            if (missed := float(chances.sum())) <= delta:
                return best, products[best], len(seen), missed
            wanted = min(count, int(GROWTH * wanted) + 1)

    def _chance(
        self, rows: np.ndarray, coarse: np.ndarray, norms: tuple[float, float], products: np.ndarray
    ) -> np.ndarray:
        """Return the chance ``[n]`` that each row's product exceeds ``products``, given its coarse product.

        Args:
            norms: of the query within the subspace and outside.
        """
        within, outside = norms
        scale = self._residual[rows] * outside
        needed = products - coarse
        # Where nothing is left out, the coarse product is the product.
        residual = np.where(scale > 1e-30, needed / np.maximum(scale, 1e-30), np.where(needed < 0, -1.0, 1.0))
        cosines = coarse / np.maximum(self._norms[rows] * within, 1e-30)
        return chance_of_more(self._edges, self._chances, cosines, residual)

    def _full_products(self, rows: np.ndarray, query: torch.Tensor) -> np.ndarray:
        """Return the full products ``[n]`` of some rows, widened tile by tile in a buffer that stays in the cache."""
        parts = []
        for start in range(0, len(rows), len(self._tile)):
            names = rows[start : start + len(self._tile)]
            for place, name in enumerate(names):
                self._tile[place] = torch.from_numpy(self._rows[name])
            parts.append(torch.mv(self._tile, query)[: len(names)])
        found = torch.cat(parts)
        require_finite(found)
        return found.numpy()


def _stacked(side: Sequence[np.ndarray] | Sequence[int] | Sequence[float]) -> np.ndarray:
    return np.stack([np.asarray(value) for value in side])


def retrieve_cascade(search: CascadeSearch, tables: SampleTables, settings: CascadeSettings, out: Answers) -> None:
    """Retrieve the same in two stages, exactly but for a chance of ``delta``, and measure latency likewise.

    Of every query, the metrics hold how many rows were looked at in full, and the chance that one was missed.

    Raises:
        UserError: ``top_k`` exceeds the training set.
    """
    with Meter() as meter:
        found = search.run(settings["delta"], settings["top_k"])
    write_lists(search, found, tables, settings, out.top)
    certificate = {"looked": found.looked.tolist(), "chances": found.chances.tolist()}
    facts = {**latency(found.milliseconds), **certificate}
    meter.write(out.metrics, backend="cascade", v=search.v, delta=settings["delta"], **facts)
    log.info("%d rows looked at in full (median)", np.median(found.looked))
