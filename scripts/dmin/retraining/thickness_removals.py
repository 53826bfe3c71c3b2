"""Which training digits are left out in the study of stroke thickness."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
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
    """How long the top list of each query is that a method removes, the random sets, and the seed of the controls."""

    top_k: int
    draws: int
    seed: int


def choose_thickness_removals(
    chooser: Chooser, samples: Path, queries: pd.DataFrame, config: ThicknessSettings, out: Path
) -> None:
    """Choose what is removed by a method, a control, or nothing; see :func:`write_removals`.

    The first method's set is the union of the top lists of all queries. It is the ``reference`` of all others, which
    remove as many: another method so many of its own lists, rank by rank; ``random`` in each of its sets;
    ``class_matched`` (random, as many of every subset) and ``thickest`` in one.

    Args:
        chooser: the method, one of these, or ``none``.
        queries: column ``id``.

    Source: the stroke-thickness study of DMin's supplement; the controls are ours.
    """
    subsets, sets = read_subsets([samples]), []
    gone = [] if chooser.reference is None else read_parquet(chooser.reference)["id"].tolist()
    if chooser.scores is not None:
        depth = config["top_k"] if chooser.reference is None else len(subsets)
        union = by_rank(top_samples(chooser.scores, queries["id"].tolist(), depth), len(gone) or len(subsets))
        sets = [[name for name in subsets if name in union]]
    elif chooser.name == RANDOM:
        draws = range(config["draws"])
        sets = [draw_samples(list(subsets), len(gone), config["seed"], "removal", draw) for draw in draws]
    elif chooser.name == CLASS_MATCHED:
        sets = [draw_by_subset(subsets, Counter(subsets[name] for name in gone), config["seed"])]
    elif chooser.name == THICKEST:
        sets = [thickest_samples(samples, len(gone))]
    write_removals(chooser.name, [("", chosen) for chosen in sets], subsets, out)


def by_rank(lists: Sequence[Sequence[str]], most: int) -> set[str]:
    """Return the first ``most`` different samples of ranked lists, all first ranks before all second ones."""
    found = dict.fromkeys(name for rank in zip(*lists, strict=True) for name in rank)
    return set(list(found)[:most])


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
