"""Exact search: every stored row against every query, keeping the best."""

from __future__ import annotations

import numpy as np

from dmin.gradients.stream import stream_products
from dmin.runtime.errors import UserError


def scan(store: np.ndarray, queries: np.ndarray, top_k: int, threads: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return the ``top_k`` rows of largest inner product with every query, best first; ties go to the earlier row.

    The same order as ranking the score matrix, without that matrix: memory is that of some spans of rows and of
    ``[Q, top_k]``, so a store larger than memory is read straight through.

    Args:
        store: ``[N, T, v]`` or ``[N, D]``, float16 or float32, such as a sketch from ``load_array``.
        queries: ``[Q, T, v]`` or ``[Q, D]``, widened to float32.
        threads: spans worked on at once; leave BLAS one thread each (``OMP_NUM_THREADS=1``).

    Returns:
        Row numbers int64 ``[Q, top_k]`` and products float32 ``[Q, top_k]``.

    Raises:
        UserError: ``top_k`` is not in 1 ... N, the rows' lengths differ, or a product is not finite.
    """
    asked = np.asarray(queries, dtype=np.float32).reshape(len(queries), -1)
    width = int(np.prod(store.shape[1:]))
    if asked.shape[1] != width:
        raise UserError(f"Queries have {asked.shape[1]} values each, stored rows {width}; sketch both alike.")
    if not 1 <= top_k <= len(store):
        raise UserError(f"top_k is {top_k}, but the store has {len(store)} rows; choose 1 ... {len(store)}.")
    order = np.empty((len(asked), 0), dtype=np.int64)
    best = np.empty((len(asked), 0), dtype=np.float32)
    for rows, products in stream_products(store, asked, threads):
        if not np.isfinite(products).all():
            raise UserError(
                f"Rows {rows.start} ... {rows.stop - 1} give products that are not finite; make them again."
            )
        order, best = _merge(order, best, rows.start, products, top_k)
    return order, best


def _merge(
    order: np.ndarray, best: np.ndarray, start: int, products: np.ndarray, top_k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Merge a span's products ``[Q, n]`` of the rows from ``start`` into the best so far."""
    kept = []
    for names, values, row in zip(order, best, products, strict=True):
        # A later row must be better than the last one kept, since ties go to the earlier.
        fresh = np.flatnonzero(row > values[-1]) if len(values) == top_k else np.arange(len(row))
        names, values = np.concatenate([names, start + fresh]), np.concatenate([values, row[fresh]])
        first = np.argsort(-values, kind="stable")[:top_k]
        kept.append((names[first], values[first]))
    return np.stack([names for names, _ in kept]), np.stack([values for _, values in kept])
