"""Which training samples each retraining sees."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import TypedDict

import numpy as np
import pandas as pd

from dmin.data.subsets import NOISE_SUBSET, read_subsets
from dmin.runtime.atomic import write_parquet
from dmin.runtime.errors import UserError
from dmin.runtime.parquet import read_parquet
from dmin.runtime.seeds import derive_seed

log = logging.getLogger(__name__)


def draw_sets(strata: Sequence[str], count: int, fraction: float, seed: int) -> np.ndarray:
    """Draw ``count`` random sets of a ``fraction`` of the samples, the same share of every stratum.

    Set ``s`` depends on the seed and ``s`` alone, so more sets keep the first ones.

    Args:
        strata: the stratum of every sample ``[n]``.

    Returns:
        Boolean ``[count, n]``, true where a sample is in a set.

    Raises:
        UserError: a stratum would be empty or whole in a set, or two sets are equal.
    """
    places = {name: np.flatnonzero(np.asarray(strata) == name) for name in sorted(set(strata))}
    sizes = {name: math.floor(Fraction(str(fraction)) * len(rows)) for name, rows in places.items()}
    for name, size in sizes.items():
        # Noised copies are no class; a set may lack them.
        if name != NOISE_SUBSET and not 0 < size < len(places[name]):
            raise UserError(
                f"Subset '{name}' has {len(places[name])} training samples, of which fraction {fraction} leaves {size} "
                "to a retraining; give it more rows or change fraction."
            )
    member = np.zeros((count, len(strata)), dtype=bool)
    for number in range(count):
        generator = np.random.default_rng(derive_seed(seed, "set", number))
        for name, rows in places.items():
            member[number, generator.choice(rows, sizes[name], replace=False)] = True
    if len(np.unique(member, axis=0)) < count:
        raise UserError(
            f"Of {count} random sets of {len(strata)} samples two are equal, so one would be judged by itself; take "
            "more samples or fewer sets."
        )
    return member


class SetSettings(TypedDict):
    """What the sets of a bank depend on; ``seeds`` is the number of trainings of each."""

    fraction: float
    seed: int
    seeds: int


def write_sets(samples: Path, config: SetSettings, span: tuple[int, int], out: Path) -> None:
    """Draw the sets of the retrainings ``span`` of a bank; parquet with a row ``set, id`` for every member.

    Args:
        samples: the training table.
        config: the bank's.
    """
    first, last = span[0] // config["seeds"], (span[1] - 1) // config["seeds"]
    subsets = read_subsets([samples])
    ids = list(subsets)
    member = draw_sets(list(subsets.values()), last + 1, config["fraction"], config["seed"])[first:]
    sets, rows = np.nonzero(member)
    write_parquet(pd.DataFrame({"set": sets + first, "id": [ids[row] for row in rows]}), out)
    log.info("sets %d to %d, of %d of %d samples", first, last, int(member[0].sum()), len(ids))


def read_sets(paths: Sequence[Path], ids: Sequence[str]) -> np.ndarray:
    """Return the sets of all files as boolean ``[sets, ids]``.

    Raises:
        UserError: a set has a sample that is not among ``ids``.
    """
    table = pd.concat([read_parquet(path) for path in paths])
    places = {name: place for place, name in enumerate(ids)}
    unknown = sorted(set(table["id"]) - set(places))
    if unknown:
        raise UserError(
            f"'{paths[0].parent}' has the sample '{unknown[0]}', which was not scored; make both from one data set."
        )
    member = np.zeros((int(table["set"].max()) + 1, len(ids)), dtype=bool)
    member[table["set"], table["id"].map(places)] = True
    return member
