"""The tables of a game's members: what each did, what that cost, and how much of it is noise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pandas as pd

from dmin.games.feature_distances import frechet_distance
from dmin.games.feature_files import read_features
from dmin.runtime.atomic import write_csv
from dmin.runtime.readers import read_csv, read_json

# What the table of models calls the model that the game is about.
WHOLE = "full"
MEMBER_COLUMNS = ["coalition", "seed", "trainer", "behaviour", "value"]
MODEL_COLUMNS = [
    "model", "steps", "distance", "to_data", "to_whole", "to_retrained", "parameters", "macs", "members",
]  # fmt: skip


def join_members(values: Sequence[Path], trainers: Sequence[str], out: Path) -> None:
    """Write what every member did; columns ``coalition, seed, trainer, behaviour, value``.

    Args:
        values: tables of :func:`measure_behaviour`.
        trainers: who trained the members of each.
    """
    parts = [read_csv(path).assign(trainer=trainer) for path, trainer in zip(values, trainers, strict=True)]
    table = (
        pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["set", "repeat", *MEMBER_COLUMNS[2:]])
    )
    table = table.rename(columns={"set": "coalition", "repeat": "seed"})[MEMBER_COLUMNS]
    write_csv(table.sort_values(MEMBER_COLUMNS[:4], ignore_index=True), out)


def measure_noise(anchors: Sequence[Path], members: Path, out: Path) -> None:
    """Write how much of a behaviour is noise; columns ``behaviour, mean, noise_sd, members_sd, repeats``.

    ``mean`` and ``noise_sd`` are those of the whole model over several sets of noises; ``members_sd`` is that of all
    members, which share one set of noises.

    Args:
        anchors: tables of :func:`measure_behaviour` of the whole model, one set of noises each.
        members: the table of :func:`join_members`.
    """
    repeated = pd.concat([read_csv(path) for path in anchors])
    spread = read_csv(members).groupby("behaviour")["value"].std()
    rows = [
        (name, values.mean(), values.std(ddof=1), spread.get(name, np.nan), len(values))
        for name, values in repeated.groupby("behaviour")["value"]
    ]
    write_csv(pd.DataFrame(rows, columns=["behaviour", "mean", "noise_sd", "members_sd", "repeats"]), out)


class TrainerCost(TypedDict):
    """A trainer, its steps for all the data, and the metrics files of its jobs."""

    trainer: str
    steps: int
    metrics: list[str]


def measure_cost(trainers: Sequence[TrainerCost], pruning: Sequence[Path], out: Path) -> None:
    """Write what a member costs by trainer; columns ``trainer, steps, seconds, compute, members``.

    ``seconds`` is the mean over members, ``compute`` that in units of one retraining, empty where there is none. The
    row ``pruning`` is paid once.

    Args:
        pruning: the metrics file of the pruned model, where there is one.
    """
    rows = []
    for trainer in trainers:
        seconds = [value for path in trainer["metrics"] for value in _read(path)["trained_seconds"]]
        rows.append(
            (trainer["trainer"], trainer["steps"], float(np.mean(seconds)) if seconds else np.nan, len(seconds))
        )
    rows += [("pruning", _read(path)["steps"], _read(path)["seconds"], 1) for path in pruning]
    table = pd.DataFrame(rows, columns=["trainer", "steps", "seconds", "members"])
    retrain = table.loc[table["trainer"] == "retrain", "seconds"]
    table["compute"] = table["seconds"] / (retrain.iloc[0] if len(retrain) else np.nan)
    write_csv(table[["trainer", "steps", "seconds", "compute", "members"]], out)


def _read(path: str | Path) -> dict[str, Any]:
    facts: dict[str, Any] = read_json(Path(path))
    return facts


class ModelRow(TypedDict):
    """A row of the table of models: its name, its steps, and the features of its images."""

    model: str
    steps: int
    features: list[str]


def compare_models(
    rows: Sequence[ModelRow], retrained: Sequence[Path], train: Path, record: Path | None, distance: str, out: Path
) -> None:
    """Write Fréchet distances of models to each other and to the data, and their sizes; see ``MODEL_COLUMNS``.

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
    write_csv(pd.DataFrame(table, columns=MODEL_COLUMNS), out)
