"""Products and lengths of rows of vectors."""

from __future__ import annotations

import numpy as np

# Columns converted to float64 at once.
CHUNK = 4096


def products(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the inner products of rows, ``[m, width] x [n, width] -> [m, n]``, computed and kept in float64.

    The rows are converted some columns at a time, so no float64 copy of either side exists.
    """
    total = np.zeros((len(left), len(right)))
    for start in range(0, left.shape[1], CHUNK):
        columns = slice(start, start + CHUNK)
        total += left[:, columns].astype(np.float64) @ right[:, columns].astype(np.float64).T
    return total


def divide(values: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Return ``values / by``, and 0 where ``by`` is 0: what has no length has no influence."""
    return np.divide(values, by, out=np.zeros(np.broadcast_shapes(values.shape, by.shape), values.dtype), where=by != 0)


def unit_rows(block: np.ndarray) -> np.ndarray:
    """Scale the last axis to unit length; zero vectors stay zero."""
    return divide(block, np.linalg.norm(block, axis=-1, keepdims=True))
