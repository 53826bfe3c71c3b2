"""How far scores would move under another sketch, and at other timesteps and noises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.stats import t

from dmin.attribution.gradient_rows import GradientRows


@dataclass(frozen=True)
class ScoreErrors:
    """Variances ``[queries, k]`` of ranked scores, in squared units of the score; NaN where one is not known.

    Attributes:
        sketch: by the draw of the sketch; 0 for uncompressed gradients.
        probe: by the timesteps, and by the noise that each is taken under.
        timesteps: how many there are.
    """

    sketch: np.ndarray
    probe: np.ndarray
    timesteps: int

    def interval(self, scores: np.ndarray, confidence: float) -> np.ndarray:
        """Return the ends ``[2, queries, k]`` of Student's interval of ``scores [queries, k]``.

        The degrees of freedom are Satterthwaite's, where the sketch's variance, which is not estimated, has infinitely
        many. NaN where a variance is not known.

        Source: Satterthwaite 1946.
        """
        total = self.sketch + self.probe
        probe = np.where(self.probe > 0, self.probe, np.nan)
        freedom = np.nan_to_num((total / probe) ** 2 * (self.timesteps - 1), nan=np.inf)
        half = t.ppf(0.5 + confidence / 2, np.maximum(freedom, 1)) * np.sqrt(total)
        return np.stack([scores - half, scores + half])


def score_errors(
    queries: GradientRows, train: GradientRows, places: np.ndarray, terms: Literal["unit", "raw"]
) -> ScoreErrors:
    """Return the variances of the scores of some training samples.

    A score is the sum over timesteps of ``<x_t, y_t>``, the products of sketches. Its variance over draws of a sketch
    that adds each of P coordinates with a random sign to one of v cells of equal size is at most
    ``c sum_ts (<x_t, x_s> <y_t, y_s> + <x_t, y_s> <y_t, x_s>)``, ``c`` the chance that two coordinates share a cell:
    the sketch is the same at all timesteps, so their errors go together. The inner products are those of the sketches.
    That over timesteps, each with a noise of its own, is the jackknife's.

    Args:
        places: the samples, ``[queries, k]``.
        terms: what the products are of: ``unit`` gradients, or ``raw`` ones.

    Source: the variance of a sketch follows Charikar, Chen and Farach-Colton 2002, with cells of equal size; Efron and
    Stein 1981 for the jackknife.
    """
    share = 0.0 if train.v == "full" else cell_share(train.metadata, train.width)
    left = queries.all()
    if terms == "raw":
        left *= queries.norms[:, :, None]
    sketch, probe = np.zeros(places.shape), np.empty(places.shape)
    for rows, block in train.blocks():
        if terms == "raw":
            block *= train.norms[rows, :, None]
        own = block @ block.swapaxes(1, 2) if share else None
        for query, asked in enumerate(left):
            inside = np.flatnonzero((places[query] >= rows.start) & (places[query] < rows.start + len(block)))
            chosen = places[query, inside] - rows.start
            probe[query, inside] = _jackknife(np.einsum("ktw,tw->kt", block[chosen], asked))
            if own is not None:
                across = block[chosen] @ asked.T
                products = (asked @ asked.T) * own[chosen] + across * across.swapaxes(1, 2)
                sketch[query, inside] = share * np.maximum(products.sum((1, 2), dtype=np.float64), 0)
    return ScoreErrors(sketch, probe, left.shape[1])


def cell_share(metadata: Mapping[str, Any], width: int) -> float:
    """Return the chance that two coordinates of a gradient fall on one cell of a sketch of ``width`` cells."""
    cells = metadata.get("cache_dim", width)
    padded = -(-metadata["P"] // cells) * cells
    return (padded / width - 1) / max(1, padded - 1)


def _jackknife(terms: np.ndarray) -> np.ndarray:
    """Return the variance ``[n]`` of the sums of ``terms [n, T]``; NaN for one term."""
    count = terms.shape[1]
    if count < 2:
        return np.full(len(terms), np.nan)
    variance: np.ndarray = count * terms.astype(np.float64).var(1, ddof=1)
    return variance
