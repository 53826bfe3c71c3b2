"""Random scores, the floor of every comparison."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from dmin.attribution.settings import method_seed
from dmin.runtime.seeds import derive_seed

METHOD = {
    "inputs": "nothing",
    "summary": "Uniform scores; the floor.",
    "score": "uniform draw",
    "range": "[0, 1)",
    "options": ("seed",),
}


def scores(queries: pd.DataFrame, train: pd.DataFrame, settings: Mapping[str, Any]) -> np.ndarray:
    """Return uniform scores in [0, 1), float32 ``[queries, train]``.

    They derive from ``settings["seed"]`` and the ids alone, not from the order of the tables. Ranked, their detection
    rate is chance: the share of the query's subset among the training samples.
    """
    seed = method_seed(settings)
    order = np.argsort(train["id"].to_numpy(dtype=str), kind="stable")
    out = np.empty((len(queries), len(train)), dtype=np.float32)
    for row, query in enumerate(queries["id"]):
        generator = np.random.default_rng(derive_seed(seed, "random", query))
        out[row, order] = generator.random(len(train), dtype=np.float32)
    return out


def facts(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the scores depend on, as it is recorded beside them."""
    return {"seed": method_seed(settings)}
