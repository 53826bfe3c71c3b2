"""Random scores, the floor of every comparison."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dmin.runtime.seeds import derive_seed
from dmin.settings.runs import Options

METHOD = {
    "inputs": "nothing",
    "summary": "Chance, the floor of every table.",
    "score": "uniform draw",
    "range": "[0, 1)",
    "label": "Random",
    "look": ("#8a8f98", "x", "dotted"),
    "options": ("seed",),
}


def scores(queries: pd.DataFrame, train: pd.DataFrame, options: Options) -> np.ndarray:
    """Return uniform scores in [0, 1), float32 ``[queries, train]``.

    They derive from ``options["seed"]`` and the ids alone, not from the order of the tables. Ranked, their detection
    rate is chance: the share of the query's subset among the training samples.
    """
    seed = options["seed"]
    order = np.argsort(train["id"].to_numpy(dtype=str), kind="stable")
    out = np.empty((len(queries), len(train)), dtype=np.float32)
    for row, query in enumerate(queries["id"]):
        generator = np.random.default_rng(derive_seed(seed, "random", query))
        out[row, order] = generator.random(len(train), dtype=np.float32)
    return out
