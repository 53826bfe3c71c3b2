"""Rankings as the explorer holds them: lists, opponents, rates, distributions and all scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from dmin.attribution.score_matrix import ScoreMatrix
from dmin.evaluation.intervals import rate_interval
from dmin.figures.blobs import Blobs, quantised
from dmin.figures.colours import relation
from dmin.runtime.errors import UserError

RATE_CUTOFFS = (5, 10, 50)
BINS = 48
# What a list says of a score's significance, where it does.
_JUDGED = ("p_value", "low", "high")


@dataclass(frozen=True)
class Ranked:
    """A ranking: its lists ``query_id, query_subset, rank, sample_id, sample_subset, score``, and its scores.

    Lists may hold ``p_value, significant, low, high`` too, each of which may be missing for a row. Without ``scores``
    there are no opponents, no distribution and no rank beyond the lists.
    """

    top: pd.DataFrame
    scores: ScoreMatrix | None = None


@dataclass(frozen=True)
class Listed:
    """What a page shows: queries and the places of the training images in its list.

    Attributes:
        queries: ids, in the page's order.
        subsets: of the queries; all empty where they are unknown.
        places: of training images by id.
        shown: ranks shown per query.
        confidence: of the intervals.
    """

    queries: Sequence[str]
    subsets: Sequence[str]
    places: Mapping[str, int]
    shown: int
    confidence: float

    @property
    def cutoffs(self) -> tuple[int, ...]:
        """Where detection rates are taken; nowhere without subsets."""
        return RATE_CUTOFFS if any(self.subsets) else ()


def shown_samples(rankings: Mapping[str, Ranked], shown: int) -> list[str]:
    """Return the ids of training images that some ranking shows among its first, or last, ``shown`` of a query.

    Those of the best rank come first.
    """
    best: dict[str, int] = {}
    for ranking in rankings.values():
        head = ranking.top[ranking.top["rank"] <= shown]
        for sample, rank in head.groupby("sample_id")["rank"].min().items():
            best[str(sample)] = min(int(rank), best.get(str(sample), shown))
        if ranking.scores is not None:
            for row in ranking.scores.values:
                for rank, column in enumerate(lowest(row, shown), 1):
                    best.setdefault(ranking.scores.train[column], shown + rank)
    return sorted(best, key=lambda sample: best[sample])


def ranks_shown(rankings: Mapping[str, Ranked], asked: int) -> int:
    """Return how many ranks lists show: ``asked``, or as many as they have."""
    ranks = [int(ranking.top["rank"].max()) for ranking in rankings.values() if len(ranking.top)]
    return min(asked, max(ranks, default=asked))


def lowest(row: np.ndarray, count: int) -> np.ndarray:
    """Return the columns of the ``count`` lowest scores of a query, the lowest first."""
    return np.argsort(row, kind="stable")[:count]


def collect_ranking(label: str, ranking: Ranked, listed: Listed, blobs: Blobs) -> dict[str, Any]:
    """Return a ranking as plain lists.

    Returns:
        ``label``; by query ``top`` (places) and ``scores``, ``low`` and ``low_scores`` (of opponents, the strongest
        first), ``rates`` at the cut-offs and ``intervals``, both None beyond the list's end; ``means``: by
        subset and for all (``""``) ``[rate, low, high]`` at the cut-offs; ``judged``: by query lists of
        ``p_value, low, high, significant``, where the list has them; ``spread``: ``ends`` of each query's scores and
        ``counts``, a blob ``[queries, BINS]``; ``all``: a blob of levels ``[queries, listed]`` between these ends.

    Raises:
        UserError: a score is not finite.
    """
    top = ranking.top
    if not np.isfinite(top["score"].to_numpy(dtype=float)).all():
        raise UserError(f"The ranking '{label}' holds scores that are not finite; find the setting that made them.")
    groups = {str(name): group.sort_values("rank") for name, group in top.groupby("query_id")}
    ordered = [groups.get(query, top.iloc[:0]) for query in listed.queries]
    heads = [group[group["rank"] <= listed.shown] for group in ordered]
    hits = [
        np.array([relation(subset, str(name)) == "hit" for name in group["sample_subset"]], dtype=float)
        for subset, group in zip(listed.subsets, ordered, strict=True)
    ]
    found: dict[str, Any] = {
        "label": label,
        "top": [[listed.places[str(sample)] for sample in head["sample_id"]] for head in heads],
        "scores": [[_short(score) for score in head["score"]] for head in heads],
        **_rates(hits, listed),
    }
    if "p_value" in top.columns:
        found["judged"] = [_judged(head) for head in heads]
    return found | (_from_scores(ranking.scores, listed, blobs) if ranking.scores is not None else {})


def _rates(hits: Sequence[np.ndarray], listed: Listed) -> dict[str, Any]:
    rates = [[float(each[:k].mean()) if len(each) >= k else None for k in listed.cutoffs] for each in hits]
    intervals = [
        [list(_interval(int(each[:k].sum()), k, listed.confidence)) if len(each) >= k else None for k in listed.cutoffs]
        for each in hits
    ]
    means = {}
    for subset in sorted({"", *listed.subsets}) if listed.cutoffs else []:
        means[subset] = [_mean_rate(rates, subset, column, listed) for column in range(len(listed.cutoffs))]
    return {"rates": rates, "intervals": intervals, "means": means}


def _mean_rate(rates: list[list[float | None]], subset: str, column: int, listed: Listed) -> list[float] | None:
    groups: dict[str, list[float]] = {}
    for row, name in zip(rates, listed.subsets, strict=True):
        rate = row[column]
        if rate is not None and subset in ("", name):
            groups.setdefault(name, []).append(rate)
    if not groups:
        return None
    shares = [np.array(values) for values in groups.values()]
    mean = float(np.mean([values.mean() for values in shares]))
    return [_short(value) for value in (mean, *rate_interval(shares, listed.confidence))]


@lru_cache(maxsize=1024)
def _interval(hits: int, k: int, confidence: float) -> tuple[float, float]:
    low, high = rate_interval([np.array([1.0] * hits + [0.0] * (k - hits))], confidence)
    return _short(low), _short(high)


def _judged(head: pd.DataFrame) -> dict[str, list[Any]]:
    numbers = {
        name: [_short(value) for value in pd.to_numeric(head[name]).astype(float)]
        for name in _JUDGED
        if name in head.columns
    }
    if "significant" in head.columns:
        # Neither yes nor no where it could not be told.
        return numbers | {"significant": [None if pd.isna(value) else bool(value) for value in head["significant"]]}
    return numbers


def _from_scores(scores: ScoreMatrix, listed: Listed, blobs: Blobs) -> dict[str, Any]:
    rows = {query: row for row, query in enumerate(scores.queries)}
    columns = {sample: column for column, sample in enumerate(scores.train)}
    try:
        asked = [rows[query] for query in listed.queries]
        shown = np.array([columns[sample] for sample in listed.places])
    except KeyError as error:
        raise UserError(f"The scores lack '{error.args[0]}', which the tables have; score again.") from None
    counts, ends, levels, low, low_scores = [], [], [], [], []
    for row in asked:
        values = np.asarray(scores.values[row], dtype=float)
        first, last = float(values.min()), float(values.max())
        edges = np.linspace(first, last if last > first else first + 1, BINS + 1)
        counts.append(np.minimum(np.histogram(values, edges)[0], 65_535))
        ends.append([first, last])
        levels.append(quantised(values[None, shown], np.array([first]), np.array([last]))[0])
        least = lowest(values, listed.shown)
        low.append([listed.places[scores.train[column]] for column in least])
        low_scores.append([_short(values[column]) for column in least])
    space = blobs.space.scores
    fits = space is None or blobs.taken() + 2 * len(asked) * len(shown) <= space
    found: dict[str, Any] = {"low": low, "low_scores": low_scores}
    found["spread"] = {"ends": ends, "counts": blobs.add_levels(np.array(counts))}
    if fits:
        found["all"] = blobs.add_levels(np.array(levels))
    return found


def _short(value: float) -> Any:
    """Return a number with five digits; None where it is missing."""
    return float(f"{value:.5g}") if math.isfinite(value) else None
