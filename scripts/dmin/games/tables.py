"""The tables of a game's members: what each did, what that cost, and how much of it is noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pandas as pd

from dmin.runtime.atomic import write_csv
from dmin.runtime.readers import read_csv, read_json

MEMBER_COLUMNS = ["coalition", "seed", "trainer", "behaviour", "value"]


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
    """A trainer, its steps on all the data, the samples that these see, and the metrics files of its jobs."""

    trainer: str
    steps: int
    samples: int
    metrics: list[str]


@dataclass(frozen=True)
class PruningCost:
    """The metrics file and the record of the pruned model, and the samples that its training sees."""

    metrics: Path
    record: Path
    samples: int


def measure_cost(trainers: Sequence[TrainerCost], pruning: PruningCost | None, retraining: int, out: Path) -> None:
    """Write what a member costs by trainer; columns ``trainer, steps, seconds, compute, members``.

    ``seconds`` were measured, the mean over members. ``compute`` is counted, since a machine that does
    other work besides would decide it: samples times multiplications of the network, over those of one retraining on
    all the data. The row ``pruning`` is paid once.

    Args:
        retraining: the samples that one retraining sees.
    """
    pruned = 1.0
    if pruning is not None:
        macs = _read(pruning.record)["macs"]
        pruned = macs["after"] / macs["before"]
    rows = []
    for trainer in trainers:
        seconds = [value for path in trainer["metrics"] for value in _read(path)["trained_seconds"]]
        compute = trainer["samples"] / retraining * (pruned if trainer["trainer"] == "sparsified" else 1.0)
        mean = float(np.mean(seconds)) if seconds else np.nan
        rows.append((trainer["trainer"], trainer["steps"], mean, compute, len(seconds)))
    if pruning is not None:
        facts = _read(pruning.metrics)
        rows.append(("pruning", facts["steps"], facts["seconds"], pruning.samples / retraining * pruned, 1))
    write_csv(pd.DataFrame(rows, columns=["trainer", "steps", "seconds", "compute", "members"]), out)


def _read(path: str | Path) -> dict[str, Any]:
    facts: dict[str, Any] = read_json(Path(path))
    return facts
