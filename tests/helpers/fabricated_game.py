"""A game whose members nobody trained: players, coalitions, what members did and what they cost."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from dmin.games.coalitions import BlockSettings, draw_coalitions
from dmin.games.records import RecordFiles, Records

WORTH = np.array([3.0, -1.0, 0.5, 0.0, 2.0, 1.0])
PLAYERS = ["ash", "birch", "cedar", "dogwood", "elm", "fir"]
INTERVAL = {"bootstrap": 60, "confidence": 0.95, "seed": 0}
# Noise of a member's value: of retrained ones, and of those that stand in for them.
NOISE = {"retrain": 0.2, "sparsified": 0.4}
COST = [("retrain", 1000, 100.0, 1.0), ("sparsified", 100, 5.0, 0.05), ("pruning", 500, 60.0, 0.6)]


def blocks(fit: tuple[str, ...] = ("shapley", "datamodel"), count: int = 16) -> list[BlockSettings]:
    """Return every coalition as exact, laws of the fit, and a test of eight halves and five of two thirds."""
    entries: list[tuple[str, str, int, int, float | None]] = [("exact", "all", 0, 64, None)]
    for place, law in enumerate(fit):
        alpha = 0.5 if law == "datamodel" else None
        entries.append(("fit", law, 10_000 * (place + 1), 10 if alpha else count, alpha))
    entries += [("test", "datamodel", 1_500_000, 8, 0.5), ("test", "datamodel", 1_670_000, 5, 0.67)]
    keys = ("part", "law", "start", "count", "alpha")
    return [
        {**dict(zip(keys, entry, strict=True)), "stratified": False, "avoids": entry[0] == "fit"} for entry in entries
    ]  # type: ignore[typeddict-item]


def write_game(folder: Path, fit: tuple[str, ...] = ("shapley", "datamodel"), seeds: int = 2) -> RecordFiles:
    """Write the files of a game of six players, each of as many samples as its place says.

    ``quality`` adds up what the players are worth, and more for the first two together; ``frechet`` is less where it
    is more. Retrained members have ``seeds`` trainings, others one.
    """
    samples = [[f"{name}/{row}" for row in range(place + 1)] for place, name in enumerate(PLAYERS)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "players.json").write_text(json.dumps({"players": PLAYERS, "samples": samples, "subsets": []}))
    table = draw_coalitions(6, blocks(fit), 42)
    table.to_parquet(folder / "coalitions.parquet")
    member = table[[f"p{player}" for player in range(6)]].to_numpy(dtype=float)
    quality = 10 + member @ WORTH + member[:, 0] * member[:, 1]
    rows = []
    generator = np.random.default_rng(3)
    for trainer, noise in NOISE.items():
        parts = {"exact", "test"} if trainer == "retrain" else {"exact", "fit"}
        for number, part, value in zip(table["coalition"], table["part"], quality, strict=True):
            for seed in range(seeds if trainer == "retrain" else 1) if part in parts else ():
                found = value + noise * generator.normal()
                rows.append((number, seed, trainer, "quality", found))
                rows.append((number, seed, trainer, "frechet", 40 - found + 0.1 * generator.normal()))
    columns = ["coalition", "seed", "trainer", "behaviour", "value"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "members.csv", index=False)
    pd.DataFrame(COST, columns=["trainer", "steps", "seconds", "compute"]).to_csv(folder / "cost.csv", index=False)
    return RecordFiles(folder / "players.json", folder / "coalitions.parquet", folder / "members.csv", 42)


def read_game(folder: Path, fit: tuple[str, ...] = ("shapley", "datamodel"), seeds: int = 2) -> Records:
    """Write a game and read its records."""
    return Records.read(write_game(folder, fit, seeds))


def write_local_scores(path: Path) -> Path:
    """Write scores of four queries, which say of each sample what its player is worth, over the player's size."""
    ids = [f"{name}/{row}" for place, name in enumerate(PLAYERS) for row in range(place + 1)]
    share = np.concatenate([np.full(place + 1, worth / (place + 1)) for place, worth in enumerate(WORTH)])
    scores = share + 0.01 * np.random.default_rng(0).normal(size=(4, len(ids)))
    path.parent.mkdir(parents=True, exist_ok=True)
    facts = {"queries": [f"query/all/{number}" for number in range(4)], "train": ids}
    np.save(path, scores.astype(np.float32))
    path.with_suffix(".json").write_text(json.dumps(facts))
    return path
