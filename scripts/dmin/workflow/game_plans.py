"""What the plan needs to know about a game, and nothing that must be made first."""

from __future__ import annotations

from typing import Any

from .games import PARTS, Block, Game
from .tables import Tables
from .values import canonical


def game_plan(tables: Tables, game: Game) -> dict[str, Any]:
    """Return a game's entry of the plan."""
    settings, plan = game.settings, tables.config["plan"]
    reads = {tables.measures[game.name].reads(behaviour) for behaviour in settings["behaviours"]}
    return canonical(
        {
            "game": game.name,
            "model": game.model.name,
            "base_name": game.model.base.name,
            "base": game.model.base.settings,
            "lora": game.model.settings["lora"] if game.model.settings["finetune"] == "adapter" else None,
            "size": game.model.dataset.settings["size"],
            "players": game.player_count,
            "ratio": settings["pruning"]["ratio"] if "sparsified" in game.all_trainers else None,
            "pruning_steps": settings["pruning"]["steps"],
            "trainers": [_trainer(game, trainer) for trainer in game.all_trainers],
            "images": settings["images"]["count"] if reads & {"images", "features"} else 0,
            "features": "features" in reads,
            "steps_per_second": plan["steps_per_second"].get(game.name),
            "images_per_second": plan["images_per_second"].get(game.name),
        }
    )


def _trainer(game: Game, trainer: str) -> dict[str, Any]:
    """Return the members that a trainer makes, their jobs, and the steps of all together as expected."""
    steps, members, jobs, total = game.tuning(trainer)["train"]["steps"], 0, 0, 0.0
    epochs = trainer == "retrain" and game.settings["budget"] == "epochs"
    for part in PARTS:
        if trainer in game.trainers(part):
            jobs += len(game.ranges(part))
            for block in game.blocks(part):
                count = block.count * game.seeds(part)
                members += count
                total += count * steps * (_share(block, game.player_count or 1) if epochs else 1.0)
    return {"trainer": trainer, "members": members, "steps": round(total), "jobs": jobs}


def _share(block: Block, players: int) -> float:
    """Return the expected share of the players in a coalition."""
    shares = {"leave_one_out": 1 - 1 / players, "add_one_in": 1 / players}
    return shares.get(block.law, block.alpha if block.law == "datamodel" and block.alpha else 0.5)
