"""Two halves of the queries, so that what is chosen on one is judged on the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dmin.runtime.errors import UserError
from dmin.runtime.seeds import derive_seed


def split_halves(queries: Sequence[str], subsets: Mapping[str, str], seed: int) -> np.ndarray:
    """Say for each query whether it is of the first half, boolean ``[queries]``.

    Each subset is halved, in an order that the seed and the queries' ids alone decide; of an odd number the first
    half has one more.

    Raises:
        UserError: a half is empty.
    """
    first = np.zeros(len(queries), dtype=bool)
    for subset in sorted({subsets[query] for query in queries}):
        places = [place for place, query in enumerate(queries) if subsets[query] == subset]
        places.sort(key=lambda place: derive_seed(seed, "half", queries[place]))
        first[places[: (len(places) + 1) // 2]] = True
    if first.all() or not first.any():
        raise UserError("No subset has two queries to halve; set queries.per_subset to 2 or more.")
    return first
