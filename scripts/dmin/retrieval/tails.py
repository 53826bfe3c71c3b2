"""How large the part of a product may be that a low-rank search leaves out: its distribution, heavy tails included."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy.stats import genpareto

# Residual cosines at which the chance of a larger one is kept.
GRID = 2048
# Rows whose coarse vectors lie alike have residuals alike, duplicates most of all: each level has its own tail.
LEVELS = (0.5, 0.8, 0.95, 0.99)
# Of each level, the largest pairs, which the tail is fitted to.
_TAIL = 0.02
# Fewer pairs than these say nothing of a tail.
_FEWEST = 200


def fit_tails(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Return the bounds between levels of the coarse cosine, and the chance of a larger residual cosine at each.

    The chance is the empirical one up to the largest 2 % of a level's pairs, and above them that of a generalised
    Pareto tail fitted to these, with a shape of at least 0, so that it is never lighter than exponential. A residual
    cosine of 1 is never exceeded (Cauchy-Schwarz).

    Args:
        pairs: coarse cosines and residual cosines of pairs of rows, in blocks, as one-dimensional arrays.

    Returns:
        ``(edges, chances)``: float64 ``[L - 1]`` and ``[L, GRID + 1]``; a level's chances stand at residual cosines
        evenly spaced over -1 ... 1.
    """
    coarse, residual = (np.concatenate(side) for side in zip(*pairs, strict=True))
    # Small sets have no pairs to tell the upper levels by.
    kept = [level for level in LEVELS if (1 - level) * len(coarse) >= _FEWEST]
    # Many pairs may lie alike, as those of one repeated image do: then levels meet, or the last has next to nobody.
    edges = np.unique(np.quantile(coarse, kept))
    counts = np.bincount(np.searchsorted(edges, coarse), minlength=len(edges) + 1)
    while len(edges) and counts.min() < _FEWEST // 2:
        few = int(counts.argmin())
        edges = np.delete(edges, min(few, len(edges) - 1))
        counts = np.bincount(np.searchsorted(edges, coarse), minlength=len(edges) + 1)
    levels = np.searchsorted(edges, coarse)
    chances = [_chances(np.sort(residual[levels == level])) for level in range(len(edges) + 1)]
    return edges, np.stack(chances)


def chance_of_more(edges: np.ndarray, chances: np.ndarray, coarse: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """Return the chance that each pair's residual cosine exceeds ``residual``, given its coarse cosine, ``[n]``."""
    # Rounded down: the chance at the point before is the larger one.
    places = np.clip((residual + 1) * (GRID / 2), 0, GRID).astype(np.int64)
    found: np.ndarray = chances[np.searchsorted(edges, coarse), places]
    return found


def _chances(values: np.ndarray) -> np.ndarray:
    """Return the chance of more than each point of the grid, of sorted residual cosines of one level."""
    grid = np.linspace(-1, 1, GRID + 1)
    if len(values) < 2:
        # Nothing is known, so anything may be larger.
        return np.where(grid < 1, 1.0, 0.0)
    body = len(values) - max(2, int(_TAIL * len(values)))
    threshold = values[body]
    excess = values[body:] - threshold
    shape, _, scale = genpareto.fit(excess, floc=0)
    if shape < 0:
        shape, scale = 0.0, float(excess.mean())
    share = (len(values) - body) / len(values)
    above = share * genpareto.sf(grid - threshold, shape, 0, max(scale, 1e-6))
    below = 1 - np.searchsorted(values, grid) / len(values)
    chances = np.where(grid > threshold, np.maximum(above, 0), np.maximum(below, share))
    chances[-1] = 0
    return chances
