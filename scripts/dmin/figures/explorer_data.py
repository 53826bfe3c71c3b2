"""What the explorer page needs, as plain lists for JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from dmin.figures.colours import relation
from dmin.figures.thumbnails import Thumbnails
from dmin.runtime.errors import UserError
from dmin.runtime.text import drawable

RATE_CUTOFFS = (5, 10, 50)

# Generated images are shown large, training images as cards.
_QUERY_PIXELS = 256
_SAMPLE_PIXELS = 128
_COLUMNS = {
    "query": ("id", "subset", "prompt", "seed", "image"),
    "sample": ("id", "subset", "prompt", "label", "origin", "image"),
    "ranking": ("query_id", "query_subset", "rank", "sample_id", "sample_subset", "score"),
}


@dataclass(frozen=True)
class About:
    """What the page says of itself.

    Attributes:
        run: name of the run.
        notes: heading and text of remarks; a heading equal to a ranking's label is shown with that ranking, the
            others at the foot of the page.
        shown: ranks shown per generated image.
        subsets_known: whether the subsets of the queries are known; without them there are no hits and no rates.
    """

    run: str
    notes: Mapping[str, str]
    shown: int
    subsets_known: bool = True


def collect_explorer_data(
    queries: pd.DataFrame, samples: pd.DataFrame, rankings: Mapping[str, pd.DataFrame], about: About
) -> dict[str, Any]:
    """Gather queries, the training samples any ranking shows, their images and the rankings.

    Each ranking keeps the first ``shown`` ranks of each query; its detection rates use all the ranks it has, and are
    ``None`` beyond them. Where subsets are unknown, there are no cut-offs and so no rates.

    Returns:
        ``run``, ``notes``, ``images`` (``[width, data URI]``), ``queries`` (``[id, subset, prompt, seed, image,
        file]``; an empty subset is unknown, and so are an empty seed and file), ``samples`` (``[id, subset, prompt,
        label, origin, image]``) and ``rankings`` (``label``, ``top``: sample positions per query, ``scores``,
        ``rates`` at the cut-offs), where ``image`` is a position in ``images``.

    Raises:
        UserError: there is no query or no ranking, a column is missing, a ranking names an unknown sample or holds a
            score that is not finite, or an image is unreadable.
    """
    if not rankings:
        raise UserError("The explorer got no ranking; list at least one method and backend for it.")
    _require(queries, "query", "queries table")
    _require(samples, "sample", "training table", may_be_empty=True)
    for label, ranking in rankings.items():
        _require(ranking, "ranking", f"ranking '{label}'")
    thumbnails = Thumbnails()
    query_rows = [
        [
            str(row["id"]),
            str(row["subset"]) if about.subsets_known else "",
            _text(row["prompt"]),
            _text(row["seed"]),
            thumbnails.add(row["image"], row["id"], _QUERY_PIXELS),
            _text(row["image"].get("path")),
        ]
        for row in queries.to_dict("records")
    ]
    used = shown_samples(rankings, about.shown)
    sample_rows = [
        [
            str(row["id"]),
            str(row["subset"]),
            *(_text(row[column]) for column in ("prompt", "label", "origin")),
            thumbnails.add(row["image"], row["id"], _SAMPLE_PIXELS),
        ]
        for row in samples[samples["id"].isin(used)].to_dict("records")
    ]
    positions = {str(row[0]): index for index, row in enumerate(sample_rows)}
    missing = sorted(used - positions.keys())
    if missing:
        raise UserError(
            f"A ranking names the training sample '{missing[0]}', which the training table lacks; make the rankings "
            "again from the present data set."
        )
    return {
        "run": about.run,
        "notes": [[heading, text] for heading, text in about.notes.items()],
        "shown": about.shown,
        "cutoffs": list(_cutoffs(about)),
        "images": [[width, uri] for width, uri in thumbnails.entries],
        "queries": query_rows,
        "samples": sample_rows,
        "rankings": [_ranking(label, ranking, query_rows, positions, about) for label, ranking in rankings.items()],
    }


def shown_samples(rankings: Mapping[str, pd.DataFrame], shown: int) -> set[str]:
    """Return the ids of the training samples that some ranking shows among its first ``shown`` ranks of a query."""
    heads = (ranking[ranking["rank"] <= shown] for ranking in rankings.values())
    return {str(identifier) for head in heads for identifier in head["sample_id"]}


def _require(table: pd.DataFrame, kind: str, name: str, may_be_empty: bool = False) -> None:
    missing = [column for column in _COLUMNS[kind] if column not in table.columns]
    if missing:
        raise UserError(f"The {name} lacks the column '{missing[0]}'; make it again with this version of dmin.")
    if table.empty and not may_be_empty:
        raise UserError(f"The {name} is empty, so the explorer has nothing to show; generate at least one query.")


def _ranking(
    label: str, ranking: pd.DataFrame, query_rows: list[list[Any]], positions: dict[str, int], about: About
) -> dict[str, Any]:
    if not all(math.isfinite(score) for score in ranking["score"]):
        raise UserError(f"The ranking '{label}' holds scores that are not finite; find the setting that made them.")
    groups = {identifier: group.sort_values("rank") for identifier, group in ranking.groupby("query_id")}
    tops, scores, rates = [], [], []
    for identifier, subset, *_ in query_rows:
        group = groups.get(identifier, ranking.iloc[:0])
        head = group[group["rank"] <= about.shown]
        tops.append([positions[str(sample)] for sample in head["sample_id"]])
        scores.append([float(f"{score:.5g}") for score in head["score"]])
        hits = [relation(subset, str(sample_subset)) == "hit" for sample_subset in group["sample_subset"]]
        rates.append([sum(hits[:k]) / k if len(hits) >= k else None for k in _cutoffs(about)])
    return {"label": label, "top": tops, "scores": scores, "rates": rates}


def _cutoffs(about: About) -> tuple[int, ...]:
    return RATE_CUTOFFS if about.subsets_known else ()


def _text(value: object) -> str:
    """Write an optional cell as text that a page can hold, ``''`` where it is missing."""
    missing = value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))
    return "" if missing else drawable(str(value))
