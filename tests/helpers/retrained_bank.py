"""A bank of exactly retrained models, on disk."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dmin.evaluation.lds import JudgingBank, LdsFiles
from dmin.retraining.sets import draw_sets
from dmin.runtime.percentiles import Interval

CONFIG = Interval(bootstrap=100, confidence=0.95, seed=1)


class Ridge:
    """Ridge regression, retrained exactly on any part of its samples; every query's loss is its squared error."""

    def __init__(self, train: int = 400, queries: int = 12, width: int = 5) -> None:
        generator = np.random.default_rng(0)
        truth = generator.standard_normal(width)
        self.x, self.x_query = (generator.standard_normal((count, width)) for count in (train, queries))
        self.y = self.x @ truth + generator.standard_normal(train)
        # Far from the model's answers, so that a query's loss is all but linear in them.
        self.y_query = self.x_query @ truth + 10 * np.sign(generator.standard_normal(queries))

    def solve(self, rows: np.ndarray) -> np.ndarray:
        x = self.x[rows]
        result: np.ndarray = np.linalg.solve(x.T @ x + np.eye(x.shape[1]), x.T @ self.y[rows])
        return result

    def losses(self, member: np.ndarray) -> np.ndarray:
        """The losses ``[sets, 1, queries]``."""
        return np.stack([(self.x_query @ self.solve(rows) - self.y_query) ** 2 for rows in member])[:, None]

    def influence(self) -> np.ndarray:
        """What one more training sample takes from each query's loss, ``[queries, train]``."""
        everything = np.ones(len(self.x), dtype=bool)
        theta = self.solve(everything)
        inverse = np.linalg.inv(self.x.T @ self.x + np.eye(self.x.shape[1]))
        residual, residual_query = self.y - self.x @ theta, self.y_query - self.x_query @ theta
        result: np.ndarray = residual_query[:, None] * (self.x_query @ inverse @ self.x.T) * residual
        return result


def loss_table(rows: Iterable[tuple[int, int, str, float]]) -> pd.DataFrame:
    """Losses by set, repeat and query, of a single timestep."""
    table = pd.DataFrame(rows, columns=["set", "repeat", "query_id", "loss"])
    return table.assign(low_timestep=0, high_timestep=0, timesteps=1)


def write_bank(folder: Path) -> dict[str, Any]:
    """An exactly retrained bank on disk, with the true influence, its negative and random scores."""
    model = Ridge()
    ids = [f"train/{row}" for row in range(len(model.x))]
    queries = [f"query/{row:02d}" for row in range(len(model.x_query))]
    member = draw_sets(["a"] * len(ids), 48, 0.5, seed=3)
    sets, rows = np.nonzero(member)
    pd.DataFrame({"set": sets, "id": [ids[row] for row in rows]}).to_parquet(folder / "sets.parquet")
    losses = model.losses(member)[:, 0]
    table = loss_table(
        [
            (number, 0, name, losses[number, place])
            for number, place in np.ndindex(losses.shape)
            for name in queries[place : place + 1]
        ]
    )
    halves = [table[table["set"] % 2 == half] for half in range(2)]
    for half, part in enumerate(halves):
        part.to_parquet(folder / f"losses-{half}.parquet")
    true = model.influence()
    scores = {"true": true, "opposite": -true, "random": np.random.default_rng(5).standard_normal(true.shape)}
    for name, values in scores.items():
        # The order of queries in a score file is its own.
        np.save(folder / f"{name}.npy", values[::-1])
        (folder / f"{name}.json").write_text(json.dumps({"queries": queries[::-1], "train": ids}))
    return {
        "bank": JudgingBank(
            [folder / f"losses-{half}.parquet" for half in range(2)], [folder / "sets.parquet"], CONFIG
        ),
        "scores": {(name, "8"): folder / f"{name}.npy" for name in scores},
        "query_set": "generated",
        "out": LdsFiles(folder / "lds.csv", folder / "lds_queries.csv"),
    }
