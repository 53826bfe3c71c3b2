"""What the page of an audit shows of a model that was trained again without the flagged images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from dmin.audit.removals import FLAGGED, LOSS, PLANTED, RECOGNISED
from dmin.data.samples import read_samples
from dmin.figures.thumbnails import Thumbnails
from dmin.retraining.removal_names import NONE, RANDOM
from dmin.runtime.readers import read_csv
from dmin.runtime.text import drawable

# Pairs of pictures that are shown.
MOST_PAIRS = 12
_REMOVALS = {
    NONE: "nothing",
    FLAGGED: "what drop.txt lists",
    RANDOM: "as many at random",
    PLANTED: "what was planted",
}
_MEASURES = {LOSS: "Loss of held-out images", RECOGNISED: "Share of generated images that are recognised"}


@dataclass(frozen=True)
class ConsequenceFiles:
    """The table of what removals do; and, where there are any, generated images and what they were generated for."""

    table: Path
    images: Sequence[Path]
    queries: Path | None


@dataclass(frozen=True)
class Pair:
    """A prompt and the cells ``{bytes, path}`` of what it gives before flagged images are removed, and after."""

    query: str
    prompt: str
    before: Any
    after: Any


@dataclass(frozen=True)
class Shown:
    """What is shown: the table, and pairs of pictures under one noise and one training seed."""

    table: pd.DataFrame
    pairs: Sequence[Pair]


def read_consequence(given: ConsequenceFiles) -> Shown:
    """Read what is shown: of the first training seed, the first 12 prompts.

    Raises:
        UserError: a file is torn.
    """
    table = read_csv(given.table)
    if given.queries is None or not given.images:
        return Shown(table, [])
    made = pd.concat([read_samples(file) for file in given.images], ignore_index=True)
    first = made[made["repeat"].astype(int) == 0]
    # Sets are numbered as the removals are: nothing, then what is flagged.
    before, after = (first[first["set"].astype(int) == number].set_index("id")["image"] for number in (0, 1))
    asked = read_samples(given.queries, ["id", "prompt"]).set_index("id")["prompt"]
    names = [name for name in before.index if name in after.index][:MOST_PAIRS]
    return Shown(table, [Pair(name, asked[name] or "", before[name], after[name]) for name in names])


def collect_consequence(shown: Shown, thumbnails: Thumbnails, pixels: int) -> dict[str, Any]:
    """Return it as plain lists for JSON.

    Returns:
        ``rows``: ``[what is removed, how many images, measure, value, change, its ends, change over random, its
        ends]``, and ``pairs``: ``[prompt, image before, image after]``.
    """
    rows = [
        [
            _REMOVALS[row["removal"]],
            int(row["removed"]),
            _MEASURES[row["measure"]],
            *(_number(row[name]) for name in ("value", "difference", "low", "high")),
            *(_number(row[name]) for name in ("over_random", "over_random_low", "over_random_high")),
        ]
        for row in shown.table.to_dict("records")
    ]
    pairs = [
        [
            drawable(str(pair.prompt)),
            *(thumbnails.add(cell, pair.query, pixels) for cell in (pair.before, pair.after)),
        ]
        for pair in shown.pairs
    ]
    return {"rows": rows, "pairs": pairs}


def _number(value: float) -> float | None:
    return float(f"{value:.4g}") if math.isfinite(value) else None
