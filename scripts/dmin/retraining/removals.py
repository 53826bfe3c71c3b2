"""Which training samples are left out before a retraining."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
import pandas as pd

from dmin.data.subsets import NOISE_SUBSET, read_subsets
from dmin.retraining.removal_names import RANDOM
from dmin.runtime.atomic import write_parquet
from dmin.runtime.errors import UserError
from dmin.runtime.provenance import load_array
from dmin.runtime.readers import read_json
from dmin.runtime.seeds import derive_seed

log = logging.getLogger(__name__)


def choose_in_turn(subsets: Sequence[str], count: int) -> list[int]:
    """Return ``count`` places, the first of each subset in turn, then the second; subsets in order of appearance."""
    seen: Counter[str] = Counter()
    order = {name: place for place, name in reversed(list(enumerate(subsets)))}
    keys = []
    for place, name in enumerate(subsets):
        keys.append((seen[name], order[name], place))
        seen[name] += 1
    return [place for _, _, place in sorted(keys)[:count]]


def top_samples(scores: Path, queries: Sequence[str], k: int) -> list[list[str]]:
    """Return the ``k`` highest-scored training samples of each query, best first; ties go to the earlier sample."""
    facts = read_json(scores.with_suffix(".json"))
    values = load_array(scores, "scores", "Scores")
    places = {name: place for place, name in enumerate(facts["queries"])}
    tops = []
    for query in queries:
        order = np.argsort(-values[places[query]], kind="stable")[:k]
        tops.append([facts["train"][column] for column in order])
    return tops


def draw_samples(ids: Sequence[str], count: int, seed: int, *names: str | int) -> list[str]:
    """Draw ``count`` samples at random, without replacement, by the seed and the names."""
    generator = np.random.default_rng(derive_seed(seed, *names))
    return [ids[row] for row in sorted(generator.choice(len(ids), count, replace=False))]


@dataclass(frozen=True)
class Chooser:
    """Who chooses what is removed.

    Attributes:
        name: the method, or a control.
        scores: of the method.
        reference: what another method removes, for a control that removes as many.
    """

    name: str
    scores: Path | None = None
    reference: Path | None = None


class RemovalSettings(TypedDict):
    """For how many queries a method removes how many samples (each of ``k``), and how many random draws there are."""

    queries: int
    k: Sequence[int]
    draws: int
    seed: int


def choose_removals(chooser: Chooser, samples: Path, queries: pd.DataFrame, config: RemovalSettings, out: Path) -> None:
    """Choose what is removed for every query by a method, in every random draw, or nothing; see :func:`write_removals`.

    The sets of the first k come first, then those of the second.

    Args:
        chooser: the method, ``random``, or ``none``.
        samples: the training table.
        queries: columns ``id, subset``.

    Raises:
        UserError: as :func:`write_removals`.
    """
    subsets, sets = read_subsets([samples]), []
    if chooser.name == RANDOM:
        ids = list(subsets)
        draws = range(config["draws"])
        sets = [("", draw_samples(ids, k, config["seed"], "removal", n)) for k in config["k"] for n in draws]
    elif chooser.scores is not None:
        chosen = queries["id"].iloc[choose_in_turn(queries["subset"].tolist(), config["queries"])].tolist()
        tops = top_samples(chooser.scores, chosen, max(config["k"]))
        sets = [(query, top[:k]) for k in config["k"] for query, top in zip(chosen, tops, strict=True)]
    write_removals(chooser.name, sets, subsets, out)


def write_removals(
    removal: str, sets: Sequence[tuple[str, Sequence[str]]], subsets: Mapping[str, str], out: Path
) -> None:
    """Write what each set removes: parquet with a row ``set, query_id, id`` for every sample.

    Args:
        sets: the query that a set is for, empty for all, and the samples that it removes.
        subsets: subset of every training sample.

    Raises:
        UserError: a set leaves a subset without samples.
    """
    sizes = Counter(subsets.values())
    for number, (query, ids) in enumerate(sets):
        gone = Counter(subsets[name] for name in ids)
        # Noised copies are no class; a training may lack them.
        empty = [name for name in sorted(sizes) if gone[name] == sizes[name] and name != NOISE_SUBSET]
        if empty or len(ids) == len(subsets):
            whose, what = f" for query '{query}'" if query else "", f"subset '{empty[0]}'" if empty else "the set"
            raise UserError(
                f"Removal {removal}/{number}{whose} takes all {sizes[empty[0]] if empty else len(subsets)} training "
                f"samples of {what}; lower the study's k, shares or top_k, or take more samples."
            )
    rows = [(number, query, name) for number, (query, ids) in enumerate(sets) for name in ids]
    table = pd.DataFrame(rows, columns=["set", "query_id", "id"])
    write_parquet(table.astype({"set": "int64", "query_id": "string", "id": "string"}), out)
    log.info("%s: %s of %d samples removed", removal, [len(ids) for _, ids in sets], len(subsets))
