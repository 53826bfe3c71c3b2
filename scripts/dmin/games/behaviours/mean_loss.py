"""Training loss of held-out samples."""

from __future__ import annotations

from dmin.games.measured import Measured, References
from dmin.retraining.losses import query_losses

BEHAVIOUR = {
    "reads": "model",
    "summary": "Training loss of held-out samples, the mean over them and evenly spaced timesteps.",
    "range": "≥ 0",
    "needs": ("reference",),
}


def measure(member: Measured, against: References) -> dict[str, float]:
    encoded, steps = against.reference, against.timesteps
    return {"": query_losses(member.family, encoded, steps, against.seed, against.batch).mean().item()}
