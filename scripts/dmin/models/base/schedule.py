"""Learning-rate schedule of the base model's training."""

from __future__ import annotations

import math


def cosine_rate(peak: float, step: int, steps: int, warmup: int = 100) -> float:
    """Return the rate at ``step``: linear warm-up to ``peak``, then cosine decay to zero at ``steps``."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return 0.5 * peak * (1.0 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
