"""The plan's rows of one game: members, steps, hours and bytes by trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypedDict

import diffusers
import pandas as pd
import torch

from dmin.games.pruning import prune_channels, pruned_rank
from dmin.plan.architecture import Architecture, read_architecture
from dmin.plan.denoiser import MetaDenoiser
from dmin.plan.estimate import PAPER, Rows
from dmin.plan.render import align, human_bytes
from dmin.settings.models import Base, Lora

# Values of the features of an image, as the installed encoder gives them.
FEATURES = 1280


class PlannedTrainer(TypedDict):
    """The members that a trainer makes, in how many jobs, and the steps of all together."""

    trainer: str
    members: int
    steps: int
    jobs: int


class PlannedGame(TypedDict):
    """What the plan needs to know of a game.

    ``game, model, base_name`` are names; ``lora`` is None for a full model, ``ratio`` without a pruned one; ``size`` is
    in pixels; ``images`` are those of a member; speeds are None where they are not stated.
    """

    game: str
    model: str
    base_name: str
    base: Base
    lora: Lora | None
    size: int
    players: int
    ratio: float | None
    pruning_steps: int
    trainers: list[PlannedTrainer]
    images: int
    features: bool
    steps_per_second: float | None
    images_per_second: float | None


def estimate_game(game: PlannedGame, shipped: Path) -> Rows:
    """Return the rows of ``plan_games.csv`` of a game, one for the pruned model and one for each trainer.

    ``hours`` are those of one device, for training and generation, at the stated speeds of the whole model; None where
    they are not stated. ``bytes`` are those of weights, images (uncompressed) and features.

    Raises:
        UserError: the base's architecture is not known, or the ratio of pruning leaves nothing of it.
    """
    architecture = read_architecture(game["base_name"], game["base"], shipped)
    whole = MetaDenoiser(architecture, game["lora"], "adapter" if game["lora"] else "all").attributed
    smaller = whole if game["ratio"] is None else _pruned(architecture, game, whole)
    image = 3 * game["size"] ** 2 + PAPER * FEATURES * game["features"]
    rows = []
    planned: list[PlannedTrainer] = [*game["trainers"]]
    if game["ratio"] is not None:
        planned.insert(0, {"trainer": "pruning", "members": 1, "steps": game["pruning_steps"], "jobs": 1})
    for trainer in planned:
        parameters = smaller if trainer["trainer"] in ("pruning", "sparsified") else whole
        images = trainer["members"] * game["images"]
        rows.append(
            {
                "game": game["game"],
                "model": game["model"],
                "players": game["players"],
                "trainer": trainer["trainer"],
                "parameters": parameters,
                "members": trainer["members"],
                "jobs": trainer["jobs"],
                "steps": trainer["steps"],
                "images": images,
                "hours": _hours(game, trainer["steps"], images),
                "bytes": PAPER * parameters * trainer["members"] + image * images,
            }
        )
    return rows


def _pruned(architecture: Architecture, game: PlannedGame, whole: int) -> int:
    """Return the parameters of the pruned model; channels are pruned of random weights, since their number counts."""
    ratio = game["ratio"] or 0.0
    if game["lora"]:
        return whole * pruned_rank(game["lora"]["rank"], ratio) // game["lora"]["rank"]
    network = getattr(diffusers, architecture.denoiser["_class_name"]).from_config(dict(architecture.denoiser))
    inputs = torch.zeros(1, *architecture.latent_shape(game["size"]))
    prune_channels(network, (inputs, torch.ones(1, dtype=torch.long)), ratio)
    return sum(value.numel() for value in network.parameters())


def _hours(game: PlannedGame, steps: int, images: int) -> float | None:
    if game["steps_per_second"] is None or (images and game["images_per_second"] is None):
        return None
    seconds = steps / game["steps_per_second"]
    return (seconds + (images / game["images_per_second"] if game["images_per_second"] else 0.0)) / 3600


def render_games(table: pd.DataFrame) -> str:
    """Return the members, steps, hours and bytes of every game and trainer."""
    header = ["game", "players", "trainer", "P", "members", "jobs", "steps", "images", "device hours", "on disk"]
    rows: list[list[Any]] = [
        [
            row["game"], f"{row['players']:,}", row["trainer"], f"{row['parameters']:,}", f"{row['members']:,}",
            f"{row['jobs']:,}", f"{row['steps']:,}", f"{row['images']:,}",
            f"{row['hours']:,.4g}" if pd.notna(row["hours"]) else "? (state plan.steps_per_second, images_per_second)",
            human_bytes(row["bytes"]),
        ]
        for row in table.to_dict("records")
    ]  # fmt: skip
    return align(header, rows)
