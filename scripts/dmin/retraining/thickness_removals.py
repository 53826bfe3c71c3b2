"""Which training digits are left out in the study of stroke thickness."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

import numpy as np
import pandas as pd

from dmin.data.samples import read_samples, sample_pixels
from dmin.data.subsets import read_subsets
from dmin.data.thickness import digit_thicknesses
from dmin.retraining.removal_names import RANDOM
from dmin.retraining.removals import Chooser, draw_samples, top_samples, write_removals
from dmin.runtime.parquet import read_parquet

CLASS_MATCHED, THICKEST = "class_matched", "thickest"


class ThicknessSettings(TypedDict):
    """How long the top list of each query is that a method removes, and the seed of the controls."""

    top_k: int
    seed: int


def choose_thickness_removals(
    chooser: Chooser, samples: Path, queries: pd.DataFrame, config: ThicknessSettings, out: Path
) -> None:
    """Choose the one set that is removed by a method, a control, or nothing; see :func:`write_removals`.

    A method's set is the union of the top lists of all queries. ``random``, ``class_matched`` (random, as many of every
    subset) and ``thickest`` remove as many as the ``reference``.

    Args:
        chooser: the method, one of these, or ``none``.
        queries: column ``id``.

    Source: the stroke-thickness study of DMin's supplement; the controls are ours.
    """
    subsets, chosen = read_subsets([samples]), None
    if chooser.scores is not None:
        tops = top_samples(chooser.scores, queries["id"].tolist(), config["top_k"])
        union = {name for top in tops for name in top}
        chosen = [name for name in subsets if name in union]
    elif chooser.reference is not None:
        gone, seed = read_parquet(chooser.reference)["id"].tolist(), config["seed"]
        if chooser.name == RANDOM:
            chosen = draw_samples(list(subsets), len(gone), seed, "removal", 0)
        elif chooser.name == CLASS_MATCHED:
            chosen = draw_by_subset(subsets, Counter(subsets[name] for name in gone), seed)
        else:
            chosen = thickest_samples(samples, len(gone))
    write_removals(chooser.name, [] if chosen is None else [("", chosen)], subsets, out)


def draw_by_subset(subsets: Mapping[str, str], counts: Mapping[str, int], seed: int) -> list[str]:
    """Draw so many samples of every subset at random."""
    members = {name: [sample for sample, subset in subsets.items() if subset == name] for name in sorted(counts)}
    return [
        sample
        for name, ids in members.items()
        for sample in draw_samples(ids, counts[name], seed, "class-matched removal", name)
    ]


def thickest_samples(samples: Path, count: int) -> list[str]:
    """Return the ``count`` training digits with the thickest strokes, thickest first; blank images come last."""
    table = read_samples(samples, ["id", "image"])
    thickness = np.nan_to_num(digit_thicknesses(sample_pixels(table)), nan=-np.inf)
    order = np.argsort(-thickness, kind="stable")[:count]
    return [str(name) for name in table["id"].iloc[order]]
