"""How far scores would move under another sketch, and at other timesteps and noises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.special import stdtrit

from dmin.attribution.gradient_rows import GradientRows
from dmin.attribution.vectors import divide

# Degrees of freedom at which Student's law is the normal one.
_MANY = 1e9


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
        freedom = np.nan_to_num((total / probe) ** 2 * (self.timesteps - 1), nan=_MANY)
        half = stdtrit(np.clip(freedom, 1, _MANY), 0.5 + confidence / 2) * np.sqrt(total)
        return np.stack([scores - half, scores + half])


def score_errors(
    queries: GradientRows, train: GradientRows, places: np.ndarray, terms: Literal["unit", "raw"]
) -> ScoreErrors:
    """Return the variances of the scores of some training samples.

    A score is the sum over timesteps of ``<x_t, y_t>``, the products of sketches. Its variance over draws of a sketch
    that adds each of P coordinates with a random sign to one of v cells of equal size is at most
    ``c sum_ts (<x_t, x_s> <y_t, y_s> + <x_t, y_s> <y_t, x_s>)``, ``c`` the chance that two coordinates share a cell:
    the sketch is the same at all timesteps, so their errors go together. The second product, the smaller one but for
    nearly equal gradients, is taken as ``cos(x_t, y_t) cos(x_s, y_s)`` of the first, which is exact where they are
    equal. All inner products are those of the sketches. The variance over timesteps, each with a noise of its own, is
    the jackknife's.

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
    asked = _autoproducts(left) if share else None
    sketch, probe = np.zeros(places.shape), np.empty(places.shape)
    for rows, block in train.blocks():
        if terms == "raw":
            block *= train.norms[rows, :, None]
        products = np.stack([left[:, step] @ block[:, step].T for step in range(left.shape[1])], axis=-1)
        own = _autoproducts(block) if share else None
        for query, listed in enumerate(places):
            inside = np.flatnonzero((listed >= rows.start) & (listed < rows.start + len(block)))
            chosen = listed[inside] - rows.start
            summed = products[query, chosen].astype(np.float64)
            probe[query, inside] = _jackknife(summed)
            if asked is not None and own is not None:
                sketch[query, inside] = share * _sketch_variance(asked[query], own[chosen], summed)
    return ScoreErrors(sketch, probe, left.shape[1])


def _autoproducts(rows: np.ndarray) -> np.ndarray:
    """Return the inner products of each row's timesteps, float64 ``[n, T, T]``, of ``rows [n, T, width]``."""
    return (rows @ rows.swapaxes(1, 2)).astype(np.float64)


def _sketch_variance(asked: np.ndarray, own: np.ndarray, terms: np.ndarray) -> np.ndarray:
    """Return the sums ``[n]`` of :func:`score_errors` for a query, from its products ``[T, T]``, those of the samples
    ``[n, T, T]`` and those across ``[n, T]``."""
    lengths = np.sqrt(np.diagonal(asked) * np.diagonal(own, axis1=1, axis2=2))
    cosines = divide(terms, lengths)
    sums = (asked * own * (1 + cosines[:, :, None] * cosines[:, None, :])).sum((1, 2))
    return np.maximum(sums, 0)


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
    variance: np.ndarray = count * terms.var(1, ddof=1)
    return variance
