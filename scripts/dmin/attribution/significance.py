"""Whether a score is larger than those of images that were not trained on, and how surely it is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np

from dmin.attribution.conformal import adjusted, conformal_p


class ListSettings(TypedDict):
    """What ranked lists depend on, beside scores.

    Their length, the false discovery rate at which they are cut, the confidence of intervals, whether the subsets of
    the queries are known, and whether queries may be held-out images.
    """

    top_k: int
    fdr: float
    confidence: float
    subsets_known: bool
    own_images: bool


@dataclass(frozen=True)
class Ranks:
    """What held-out images say of the scores of training samples.

    Attributes:
        p_value: ``[queries, train]``; NaN where no held-out image is known to compare with.
        found: which samples are found at the false discovery rate, ``[queries, train]``.
        held_out: images compared with, ``[queries]``.
        tested: samples among which the rate is held, ``[queries]``.
        auc: the chance that a tested sample outscores a held-out image, ties counted half, ``[queries]``.
    """

    p_value: np.ndarray
    found: np.ndarray
    held_out: np.ndarray
    tested: np.ndarray
    auc: np.ndarray


@dataclass(frozen=True)
class Judged:
    """What is said of ranked samples beside their scores, each ``[queries, k]``, and of queries in ``facts``.

    ``found`` is None where nothing is held out.
    """

    p_value: np.ndarray
    found: np.ndarray | None
    low: np.ndarray
    high: np.ndarray
    facts: dict[str, Any]


def rank_among(scores: np.ndarray, held_out: np.ndarray, compared: np.ndarray, tested: np.ndarray, fdr: float) -> Ranks:
    """Return the conformal p-values of scores ``[queries, train]``, and which are found at a false discovery rate.

    The p-value of a sample for a query is the rank of its score among the scores of the query's held-out images. For a
    sample of their kind that did no more for the query than they could, it is uniform or larger. The rate is held for
    each query among its tested samples; the others are never found.

    Args:
        held_out: scores of the held-out images, ``[queries, m]``.
        compared: with which of them, ``[queries, m]``.
        tested: which samples are of their kind, ``[queries, train]``.
    """
    p_value, found = np.full(scores.shape, np.nan), np.zeros(scores.shape, dtype=bool)
    auc = np.full(len(scores), np.nan)
    for query, (mine, theirs) in enumerate(zip(scores, held_out, strict=True)):
        known = theirs[compared[query]]
        p_value[query] = conformal_p(mine, known)
        kind = tested[query]
        if len(known) and kind.any():
            found[query, kind] = adjusted(p_value[query, kind]) <= fdr
            auc[query] = _auc(mine[kind], known)
    return Ranks(p_value, found, compared.sum(1), tested.sum(1), auc)


def same_kind(queries: Sequence[str], others: Sequence[str], known: bool) -> np.ndarray:
    """Return which images are compared with which query, boolean ``[queries, n]``, from the subsets of both.

    Those of the query's own subset where it is ``known``, else all.
    """
    if not known:
        return np.ones((len(queries), len(others)), dtype=bool)
    equal: np.ndarray = np.asarray(queries, dtype=object)[:, None] == np.asarray(others, dtype=object)[None, :]
    return equal


def _auc(values: np.ndarray, others: np.ndarray) -> float:
    known = np.sort(others)
    below = np.searchsorted(known, values, side="left") + np.searchsorted(known, values, side="right")
    return float(below.mean() / (2 * len(known)))
