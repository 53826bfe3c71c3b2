"""Random scores, the floor of every comparison."""

from __future__ import annotations

import numpy as np

from dmin.data.sample_rows import SampleRows
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


def scores(queries: SampleRows, train: SampleRows, options: Options) -> np.ndarray:
    """Return uniform scores in [0, 1), float32 ``[queries, train]``.

    They derive from ``options["seed"]`` and the ids alone, not from the order of the tables. Ranked, their detection
    rate is chance: the share of the query's subset among the training samples.
    """
    seed = options["seed"]
    order = np.argsort(np.asarray(train.ids, dtype=str), kind="stable")
    out = np.empty((len(queries), len(train)), dtype=np.float32)
    for row, query in enumerate(queries.ids):
        generator = np.random.default_rng(derive_seed(seed, "random", query))
        out[row, order] = generator.random(len(train), dtype=np.float32)
    return out
