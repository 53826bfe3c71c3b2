"""How far what a game's models generate is from the data and from each other, and how large they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np
import pandas as pd

from dmin.games.feature_distances import frechet_distance
from dmin.games.feature_files import read_features
from dmin.runtime.atomic import write_csv
from dmin.runtime.readers import read_json

# What the table of models calls the model that the game is about.
WHOLE = "full"
COLUMNS = [
    "model", "steps", "distance", "to_data", "to_whole", "to_retrained", "parameters", "macs", "members",
]  # fmt: skip


class ModelRow(TypedDict):
    """A row of the table of models: its name, its steps, and the features of its images."""

    model: str
    steps: int
    features: list[str]


def compare_models(
    rows: Sequence[ModelRow], retrained: Sequence[Path], train: Path, record: Path | None, distance: str, out: Path
) -> None:
    """Write Fréchet distances of models to each other and to the data, and their sizes; see ``COLUMNS``.

    ``to_data`` is the distance to the training images, ``to_whole`` that to the images of the whole model, and
    ``to_retrained`` that to those of the model retrained on the same coalition; they are means over members.

    Args:
        retrained: the features of retrained members.
        record: of the pruning, for ``parameters`` and ``macs``.
        distance: what it is called, with the encoder of the features.

    Source: table 1 of the paper on sparsified unlearning.
    """
    data = next(iter(read_features(train).values()))
    exact = {name: values for path in retrained for name, values in read_features(path).items()}
    (whole,) = (next(iter(read_features(Path(row["features"][0])).values())) for row in rows if row["model"] == WHOLE)
    facts = read_json(record) if record else None
    table = []
    for row in rows:
        own = {name: values for path in row["features"] for name, values in read_features(Path(path)).items()}
        to_data = [frechet_distance(values, data) for values in own.values()]
        pairs = [frechet_distance(values, exact[name]) for name, values in own.items() if name in exact]
        when = "after" if row["model"] in ("pruned", "sparsified") else "before"
        sizes = [facts[name][when] if facts else np.nan for name in ("parameters", "macs")]
        other = float(np.mean(pairs)) if pairs and row["model"] != "retrain" else np.nan
        from_whole = [frechet_distance(values, whole) for values in own.values()] if row["model"] != WHOLE else [np.nan]
        distances = (float(np.mean(to_data)), float(np.mean(from_whole)), other)
        table.append((row["model"], row["steps"], distance, *distances, *sizes, len(own)))
    write_csv(pd.DataFrame(table, columns=COLUMNS), out)
