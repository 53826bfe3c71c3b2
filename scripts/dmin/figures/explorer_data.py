"""What the explorer page needs, as plain lists for JSON and blobs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtri

from dmin.data.file_names import file_names, source_of
from dmin.data.samples import read_columns, read_samples
from dmin.figures.blobs import LEVELS, Blobs, quantised
from dmin.figures.colours import NOISE
from dmin.figures.explorer_contributors import Contributed, collect_contributed
from dmin.figures.explorer_images import Pictures
from dmin.figures.explorer_rankings import Listed, Ranked, collect_ranking, ranks_shown, shown_samples
from dmin.figures.projection import Projection
from dmin.runtime.errors import UserError
from dmin.runtime.text import drawable

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
        shown: ranks shown per generated image, where lists have as many.
        subsets_known: whether the subsets of the queries are known; without them there are no hits and no rates.
        confidence: of the intervals beside rates.
    """

    run: str
    notes: Mapping[str, str]
    shown: int
    subsets_known: bool = True
    confidence: float = 0.95


@dataclass(frozen=True)
class Tables:
    """The sample tables of a run: ``id, subset, prompt, seed, image`` of the queries, ``id, subset, prompt, label,
    origin, image`` of the training images."""

    queries: Path
    train: Path


@dataclass(frozen=True)
class Audited:
    """What an audit found: its issues, and a row for every training image."""

    issues: pd.DataFrame
    measured: pd.DataFrame


@dataclass(frozen=True)
class Beside:
    """What a run may have beside its rankings.

    Attributes:
        audit: what an audit found.
        maps: where samples lie.
        parts: what scores are made of, ``query_id, sample_id, kind, part, score``, whose ``part`` of the kinds
            ``query_region`` and ``sample_region`` is ``row,column`` of a grid.
        games: whose the training images are.
    """

    audit: Audited | None = None
    maps: Sequence[Projection] = ()
    parts: pd.DataFrame | None = None
    games: Sequence[Contributed] = ()


def listed_samples(ids: Sequence[str], first: Sequence[str], most: float) -> list[str]:
    """Return which of the training images ``ids`` a page lists, in their order: ``first``, then others up to ``most``
    in all.

    Raises:
        UserError: ``ids`` lacks one of ``first``.
    """
    missing = sorted(set(first) - set(ids))
    if missing:
        raise UserError(
            f"A ranking names the training sample '{missing[0]}', which the training table lacks; make the rankings "
            "again from the present data set."
        )
    chosen = set(first)
    others = [name for name in ids if name not in chosen]
    chosen.update(others[: int(max(0, min(most, len(ids)) - len(chosen)))])
    return [name for name in ids if name in chosen]


def collect_explorer_data(
    tables: Tables, rankings: Mapping[str, Ranked], about: About, beside: Beside, blobs: Blobs
) -> dict[str, Any]:
    """Gather queries, training images, their pictures, the rankings and what stands beside them.

    Each ranking keeps the first ``shown`` ranks of each query; its detection rates use all the ranks it has, and are
    ``None`` beyond them. Where subsets are unknown, there are no cut-offs and so no rates.

    Returns:
        ``run``, ``notes``, ``shown``, ``cutoffs``, ``total`` (training images), ``quantile`` (of the normal
        distribution, for intervals), ``confidence``, ``queries`` (``[id, subset, prompt, seed, file, chance]``; an
        empty subset is unknown, and so are an empty seed and file), ``samples`` (``[id, subset, prompt, label,
        origin]``, then the name of its file where that is another), ``pictures`` of both (:meth:`Pictures.collect`),
        ``rankings`` (:func:`collect_ranking`), ``maps``, ``parts``, ``audit`` and ``games``
        (:func:`collect_contributed`).

    Raises:
        UserError: there is no query or no ranking, a column is missing, a ranking names an unknown sample or holds a
            score that is not finite, or an image is unreadable.
    """
    _check(tables, rankings)
    about = replace(about, shown=ranks_shown(rankings, about.shown))
    first = [*shown_samples(rankings, about.shown), *_flagged(beside)]
    queries, samples, listed = _read(tables, about, first, blobs.space.listed)
    found = [collect_ranking(label, ranking, listed, blobs) for label, ranking in rankings.items()]
    places = {"queries": {name: place for place, name in enumerate(listed.queries)}, "samples": listed.places}
    ranked = {"queries": listed.queries, "samples": first}
    pictures = {
        kind: Pictures(path, places[kind], kind, blobs).collect(ranked[kind])
        for kind, path in (("queries", tables.queries), ("samples", tables.train))
    }
    chances = _chances(listed.subsets, samples["subset"])
    files = [_text(file) for file in pictures["queries"].pop("files")]
    pictures["samples"].pop("files")
    rows = zip(listed.queries, listed.subsets, queries["prompt"], queries["seed"], files, chances, strict=True)
    quantile = float(ndtri(0.5 + about.confidence / 2))
    kept = samples[samples["id"].isin(listed.places)]
    own_files = _files(samples[samples["subset"] != NOISE])
    return {
        "run": about.run,
        "notes": [[heading, text] for heading, text in about.notes.items()],
        "shown": about.shown,
        "cutoffs": list(listed.cutoffs),
        "total": len(samples),
        "confidence": about.confidence,
        "quantile": round(quantile, 4),
        "queries": [
            [name, subset, _text(prompt), _text(seed), file, chance]
            for name, subset, prompt, seed, file, chance in rows
        ],
        "samples": [
            [str(row["id"]), *(_text(row[column]) for column in ("subset", "prompt", "label", "origin"))]
            + ([file] if (file := own_files.get(str(row["id"]), "")) not in ("", _text(row["origin"])) else [])
            for row in kept.to_dict("records")
        ],
        "pictures": pictures,
        "rankings": found,
        "maps": [_map(item, places, blobs) for item in beside.maps],
        "parts": [] if beside.parts is None else _parts(beside.parts, places),
        "audit": None if beside.audit is None else _audit(beside.audit, listed.places, quantile),
        "games": [collect_contributed(game, rankings, listed) for game in beside.games],
    }


def _files(samples: pd.DataFrame) -> dict[str, str]:
    """Return what stands for each sample in a list of files; the origin of one without a file is its row."""
    files = dict(zip(samples["id"].map(str), samples["origin"].map(_text), strict=True))
    return file_names({name: file if name != f"{source_of(name)}/{file}" else None for name, file in files.items()})


def _flagged(beside: Beside) -> list[str]:
    return [] if beside.audit is None else [str(name) for name in beside.audit.issues["sample"].drop_duplicates()]


def _read(tables: Tables, about: About, first: Sequence[str], most: float) -> tuple[pd.DataFrame, pd.DataFrame, Listed]:
    """Return the tables without their images, and what the page shows: ``first``, and ``most`` training images."""
    queries = read_samples(tables.queries, ["id", "subset", "prompt", "seed"])
    samples = read_samples(tables.train, ["id", "subset", "prompt", "label", "origin"])
    subsets = [str(name) if about.subsets_known else "" for name in queries["subset"]]
    listed = listed_samples([str(name) for name in samples["id"]], first, most)
    places = {name: place for place, name in enumerate(listed)}
    ids = [str(name) for name in queries["id"]]
    return queries, samples, Listed(ids, subsets, places, about.shown, about.confidence)


def _check(tables: Tables, rankings: Mapping[str, Ranked]) -> None:
    if not rankings:
        raise UserError("The explorer got no ranking; list at least one method and backend for it.")
    _require(read_columns(tables.queries), "query", "queries table")
    _require(read_columns(tables.train), "sample", "training table")
    if read_samples(tables.queries, ["id"]).empty:
        raise UserError("The queries table is empty, so the explorer has nothing to show; generate at least one query.")
    for label, ranking in rankings.items():
        _require(ranking.top.columns, "ranking", f"ranking '{label}'")
        if ranking.top.empty:
            raise UserError(f"The ranking '{label}' is empty, so the explorer has nothing to show; search again.")


def _require(columns: Sequence[str] | pd.Index, kind: str, name: str) -> None:
    missing = [column for column in _COLUMNS[kind] if column not in columns]
    if missing:
        raise UserError(f"The {name} lacks the column '{missing[0]}'; make it again with this version of dmin.")


def _chances(subsets: Sequence[str], train: pd.Series) -> list[float | None]:
    """Return, for each query, the share of training images that are hits; None where its subset is unknown."""
    shares = train.astype(str).value_counts(normalize=True)
    return [round(float(shares.get(name, 0.0)) if name != NOISE else 0.0, 5) if name else None for name in subsets]


def _map(found: Projection, places: Mapping[str, Mapping[str, int]], blobs: Blobs) -> dict[str, Any]:
    """Return a map: blobs of levels ``[places, 2]`` from 1 on, 0 where a sample has no place."""
    both = np.concatenate([found.train_places, found.query_places])
    low, high = both.min(axis=0), both.max(axis=0)

    def levels(ids: Sequence[str], at: np.ndarray, known: Mapping[str, int]) -> int:
        cells = np.zeros((len(known), 2), dtype=np.uint16)
        scaled = np.maximum(quantised(at.T, low, high).T, 1)
        for name, row in zip(ids, scaled, strict=True):
            if name in known:
                cells[known[name]] = row
        # One row, which a page reads at once.
        return blobs.add_levels(cells.reshape(1, -1))

    spans = [float(f"{high[axis] - low[axis]:.5g}") for axis in range(2)]
    return {
        "name": found.name,
        "explained": [round(share, 4) for share in found.explained],
        "spans": spans,
        "samples": levels(found.train, found.train_places, places["samples"]),
        "queries": levels(found.queries, found.query_places, places["queries"]) if found.queries else None,
        "levels": LEVELS,
    }


def _parts(table: pd.DataFrame, places: Mapping[str, Mapping[str, int]]) -> list[list[Any]]:
    """Return, for each pair that is listed, the places of query and training image and by kind ``[part, score]``."""
    found: dict[tuple[int, int], dict[str, list[list[Any]]]] = {}
    columns = ("query_id", "sample_id", "kind", "part", "score")
    for query, sample, kind, part, score in zip(*(table[column] for column in columns), strict=True):
        if str(query) in places["queries"] and str(sample) in places["samples"]:
            kinds = found.setdefault((places["queries"][str(query)], places["samples"][str(sample)]), {})
            kinds.setdefault(str(kind), []).append([_text(part), float(f"{score:.4g}")])
    return [[query, sample, kinds] for (query, sample), kinds in found.items()]


def _audit(audit: Audited, places: Mapping[str, int], quantile: float) -> dict[str, Any]:
    """Return the issues' names, by place what was found, and by place how much an image helps held-out ones and
    whether that is more than ``quantile`` standard errors from zero."""
    names = [str(name) for name in audit.issues["issue"].drop_duplicates()]
    flags = [
        [places[str(row["sample"])], names.index(str(row["issue"])), _text(row["evidence"])]
        for row in audit.issues.to_dict("records")
        if str(row["sample"]) in places
    ]
    helps: list[list[Any]] = []
    if "held_out_influence" in audit.measured.columns:
        columns = ("sample", "held_out_influence", "held_out_influence_se")
        told = zip(*(audit.measured[column] for column in columns), strict=True)
        helps = [
            [places[str(sample)], float(f"{value:.4g}"), bool(abs(value) > quantile * error)]
            for sample, value, error in told
            if str(sample) in places and math.isfinite(value)
        ]
    return {"issues": names, "flags": flags, "helps": helps}


def _text(value: object) -> str:
    """Write an optional cell as text that a page can hold, ``''`` where it is missing."""
    missing = value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))
    return "" if missing else drawable(str(value))
