"""What a game's models are like and what they cost: the whole model, the pruned one, and those of its members."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dmin.runtime.atomic import write_csv
from dmin.runtime.readers import read_csv

COLUMNS = [
    "model", "distance", "to_data", "to_whole", "to_retrained", "steps", "seconds", "compute", "parameters", "macs",
    "members",
]  # fmt: skip
# A model's name in the table of models, and in that of costs.
_COSTS = {"pruned": "pruning"}


def join_costs(models: pd.DataFrame, cost: pd.DataFrame) -> pd.DataFrame:
    """Return the Fréchet distances and sizes of models with what their training cost; see ``COLUMNS``.

    ``seconds`` are of one training, ``compute`` is that in units of one retraining; both are empty for the whole model,
    whose training belongs to no game. Source: table 1 of the paper on sparsified unlearning.

    Args:
        models: see :func:`dmin.games.models.compare_models`.
        cost: columns ``trainer, seconds, compute``.
    """
    paid = cost.set_index("trainer")[["seconds", "compute"]]
    names = models["model"].replace(_COSTS)
    return models.join(paid.reindex(names).reset_index(drop=True))[COLUMNS]


def evaluate_models(models: Path, cost: Path, out: Path) -> None:
    """Write the table of :func:`join_costs`."""
    write_csv(join_costs(read_csv(models), read_csv(cost)), out)
