"""How fast a training learns, step by step."""

from __future__ import annotations

import math
from typing import TypedDict


class Optimisation(TypedDict):
    """What every training has in its section of the config."""

    steps: int
    learning_rate: float
    weight_decay: float
    warmup_steps: int


def cosine_rate(config: Optimisation, step: int) -> float:
    """Return the learning rate at ``step``: linear warm-up to ``learning_rate``, then cosine decay to zero at the end.

    Args:
        config: ``learning_rate``, ``warmup_steps`` and ``steps``.
    """
    peak, warmup = config["learning_rate"], config["warmup_steps"]
    if step < warmup:
        return peak * (step + 1) / warmup
    return 0.5 * peak * (1.0 + math.cos(math.pi * (step - warmup) / max(1, config["steps"] - warmup)))
