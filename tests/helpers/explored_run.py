"""A run as the explorer sees it: fabricated queries, training images and rankings."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from dmin.attribution.score_matrix import ScoreMatrix
from dmin.data.samples import write_samples
from dmin.figures.contributor_page import Played
from dmin.figures.explorer_contributors import Contributed
from dmin.figures.explorer_data import Audited, Beside, Tables
from dmin.figures.explorer_rankings import Ranked
from dmin.figures.projection import Projection

SUBSETS = ("cats", "dogs", "noise")


def cell(seed: int, size: int = 8, smooth: int = 1) -> dict[str, Any]:
    """Return an image cell of noise, or of ``smooth`` times fewer pixels made larger, as photographs are."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size // smooth, size // smooth, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC).save(buffer, "PNG", compress_level=1)
    return {"bytes": buffer.getvalue(), "path": None}


def make_queries(prompt: str = "a cat", count: int = 2, size: int = 8) -> pd.DataFrame:
    """Return queries that take turns being of either subset."""
    rows = [
        {
            "id": f"query/{SUBSETS[number % 2]}/{number // 2}",
            "subset": SUBSETS[number % 2],
            "prompt": prompt,
            "seed": 2**62 + number,
            "image": cell(100_000 + number, size),
        }
        for number in range(count)
    ]
    return pd.DataFrame(rows)


def make_samples(count: int = 60, prompt: str = "a caption", size: int = 8) -> pd.DataFrame:
    """Return training images; every third is a noised copy."""
    rows = [
        {
            "id": f"s/{number}",
            "subset": SUBSETS[number % 3],
            "prompt": prompt,
            "label": None,
            "origin": f"file {number}",
            "image": cell(number, size),
        }
        for number in range(count)
    ]
    return pd.DataFrame(rows)


def make_scores(queries: pd.DataFrame, samples: pd.DataFrame, seed: int | None = None) -> ScoreMatrix:
    """Return scores that fall by 0.1 from one training image to the next, or are drawn."""
    values = np.tile(1 - np.arange(len(samples)) / 10, (len(queries), 1))
    if seed is not None:
        values = np.random.default_rng(seed).normal(size=values.shape)
    return ScoreMatrix(values.astype(np.float32), queries["id"].tolist(), samples["id"].tolist())


def make_ranking(queries: pd.DataFrame, samples: pd.DataFrame, ranks: int, seed: int | None = None) -> Ranked:
    """Return the ranking by these scores, with its first ``ranks`` in lists."""
    scores = make_scores(queries, samples, seed)
    order = np.argsort(-scores.values, axis=1, kind="stable")[:, :ranks]
    rows, columns = np.repeat(np.arange(len(queries)), order.shape[1]), order.ravel()
    top = pd.DataFrame(
        {
            "query_id": queries["id"].to_numpy()[rows],
            "query_subset": queries["subset"].to_numpy()[rows],
            "rank": np.tile(np.arange(1, order.shape[1] + 1), len(queries)),
            "sample_id": samples["id"].to_numpy()[columns],
            "sample_subset": samples["subset"].to_numpy()[columns],
            "score": scores.values[rows, columns],
        }
    )
    return Ranked(top, scores)


@dataclass(frozen=True)
class ExploredRun:
    """The files of a run and its rankings."""

    tables: Tables
    rankings: Mapping[str, Ranked]

    @classmethod
    def write(
        cls, folder: Path, queries: pd.DataFrame, samples: pd.DataFrame, rankings: Mapping[str, Ranked]
    ) -> ExploredRun:
        """Write the tables into a folder beside the page."""
        folder.mkdir(parents=True, exist_ok=True)
        tables = Tables(folder / "queries.parquet", folder / "train.parquet")
        write_samples(queries, tables.queries)
        write_samples(samples, tables.train)
        return cls(tables, rankings)


def make_contributions(players: Mapping[str, int]) -> pd.DataFrame:
    """Return what players gave to two behaviours, of which the second is lowered by everyone together."""
    rows = [
        {
            "estimator": estimator, "behaviour": behaviour, "player": name, "samples": size,
            "value": sign * (place + 1), "low": sign * (place + 1) - 0.5, "high": sign * (place + 1) + 0.5,
            "share": share * (place + 1) / sum(range(1, len(players) + 1)), "trainer": "retrain", "law": "all",
            "coalitions": 8,
        }
        for behaviour, sign in (("entropy", 1), ("mean_loss", -1))
        for estimator, share in (("exact_shapley", 1.0), ("leave_one_out", 0.5))
        for place, (name, size) in enumerate(players.items())
    ]  # fmt: skip
    # A baseline has no share, and points where everyone moves the behaviour.
    sizes = [
        row | {"estimator": "size", "value": row["samples"] * (-1 if row["value"] < 0 else 1), "share": np.nan,
               "low": np.nan, "high": np.nan, "coalitions": 0}
        for row in rows
        if row["estimator"] == "exact_shapley"
    ]  # fmt: skip
    return pd.DataFrame([*rows, *sizes]).astype({"player": "string"})


def make_game(samples: pd.DataFrame, name: str = "owners", measured: bool = True) -> Contributed:
    """Return a game of three contributors, of whom the first has a half of the training images."""
    names = ("ann", "<b>eve</b>", "bob")
    owners = {sample: names[max(0, number % 4 - 1)] for number, sample in enumerate(samples["id"])}
    sizes = {name: sum(owner == name for owner in owners.values()) for name in names}
    return Contributed(Played(name, ["mean_loss", "entropy"]), owners, make_contributions(sizes) if measured else None)


def make_beside(queries: pd.DataFrame, samples: pd.DataFrame) -> Beside:
    """Return an audit that flags two images, a map, what the score of one pair is made of, and two games."""
    ids, asked = samples["id"].tolist(), queries["id"].tolist()
    issues = pd.DataFrame(
        [
            {"sample": ids[1], "issue": "mislabelled", "evidence": "nearer to <b>dogs</b>"},
            {"sample": ids[4], "issue": "harmful", "evidence": "raises losses"},
            {"sample": ids[4], "issue": "mislabelled", "evidence": "nearer to cats"},
        ]
    )
    helps = np.linspace(1, -1, len(ids))
    measured = pd.DataFrame({"sample": ids, "held_out_influence": helps, "held_out_influence_se": 0.2})
    places = np.random.default_rng(3).normal(size=(len(ids) + len(asked), 2))
    found = Projection("Gradients", ids, places[: len(ids)], asked, places[len(ids) :], (0.4, 0.2))
    regions = [
        (kind, f"{row},{column}") for kind in ("query_region", "sample_region") for row in "01" for column in "01"
    ]
    named = [*regions, ("timestep", "10"), ("timestep", "500"), ("layer", "down"), ("layer", "<b>up</b>")]
    parts = pd.DataFrame(
        [(asked[0], ids[0], kind, part, 0.5 - place / 10) for place, (kind, part) in enumerate(named)],
        columns=["query_id", "sample_id", "kind", "part", "score"],
    )
    games = [make_game(samples), make_game(samples, "unmeasured", measured=False)]
    return Beside(Audited(issues, measured), [found], parts, games)
