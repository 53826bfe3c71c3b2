"""Inner products of queries with stored rows, streamed from disk in bounded memory."""

from __future__ import annotations

import mmap
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

# Bytes of stored rows that one thread takes at a time.
SPAN_BYTES = 2**25
# Values widened to float32 at once. Torch's must stay in a core's second-level cache, or speed halves.
TORCH_TILE, NUMPY_TILE = 2**17, 2**22
# From here on torch, which widens float16 six times as fast as NumPy, repays the second that its import takes.
LARGE_BYTES = 2**28

# Products ``[Q, n]`` of all queries with some rows.
Multiply = Callable[[np.ndarray], np.ndarray]


def stream_products(store: np.ndarray, queries: np.ndarray, threads: int = 1) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield the inner products of every query with spans of stored rows, in order, and the rows that they are.

    Rows are read once; float16 is widened tile by tile and summed in float32. A memory-mapped ``store`` is mapped span
    by span, so the resident memory is that of a few spans, whatever its size. Each of ``threads`` works on a span of
    its own; the products do not depend on their number. Equal rows get equal products wherever they stand.

    Args:
        store: ``[N, ...]`` float16 or float32, rows of ``D`` values.
        queries: ``[Q, D]`` float32.

    Yields:
        ``(rows, products)`` with products float32 ``[Q, n]``.
    """
    width = int(np.prod(store.shape[1:]))
    span = max(1, SPAN_BYTES // (store.itemsize * width))
    large = store.nbytes >= LARGE_BYTES
    # BLAS sums the rows at the edge of a matrix in another order, so tiles are whole, of a multiple of its block.
    tile = max(16, (TORCH_TILE if large else NUMPY_TILE) // width // 16 * 16)
    tile = min(tile, (min(span, len(store)) + 15) // 16 * 16)
    multiplier = _torch_multiplier if large else _numpy_multiplier

    def work(start: int) -> tuple[slice, np.ndarray]:
        rows = _mapped(store, start, min(span, len(store) - start)).reshape(-1, width)
        multiply = multiplier(queries, tile)
        tiles = [multiply(rows[first : first + tile]) for first in range(0, len(rows), tile)]
        return slice(start, start + len(rows)), np.concatenate(tiles, axis=1)

    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[tuple[slice, np.ndarray]]] = deque()
        for start in range(0, len(store), span):
            waiting.append(pool.submit(work, start))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _mapped(store: np.ndarray, start: int, count: int) -> np.ndarray:
    """Return some rows; those of a whole mapped file by a mapping of their own, which ends with them."""
    if not isinstance(store, np.memmap) or not isinstance(store.base, mmap.mmap):
        return store[start : start + count]
    row = store.itemsize * int(np.prod(store.shape[1:]))
    shape = (count, *store.shape[1:])
    # Private and so writable, which torch wants though nothing is written.
    return np.memmap(store.filename, store.dtype, "c", store.offset + start * row, shape)


def _numpy_multiplier(queries: np.ndarray, tile: int) -> Multiply:
    wide = np.zeros((tile, queries.shape[1]), dtype=np.float32)

    def multiply(rows: np.ndarray) -> np.ndarray:
        wide[: len(rows)] = rows
        return (queries @ wide.T)[:, : len(rows)]

    return multiply


def _torch_multiplier(queries: np.ndarray, tile: int) -> Multiply:
    import torch

    # One thread for each span: several within so small a tile would only wait for one another.
    torch.set_num_threads(1)
    wide = torch.zeros((tile, queries.shape[1]))
    left = torch.from_numpy(queries)

    def multiply(rows: np.ndarray) -> np.ndarray:
        wide[: len(rows)] = torch.from_numpy(rows if rows.flags.writeable else rows.copy())
        products = torch.mv(wide, left[0])[None] if len(left) == 1 else torch.mm(left, wide.T)
        return products.numpy()[:, : len(rows)]

    return multiply
