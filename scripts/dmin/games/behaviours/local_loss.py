"""Training loss of one image of the whole model."""

from __future__ import annotations

from dmin.games.measured import Measured, References
from dmin.retraining.losses import query_losses

BEHAVIOUR = {
    "reads": "model",
    "summary": "Training loss of the query, an image of the whole model, the mean over evenly spaced timesteps.",
    "range": "≥ 0",
    "needs": ("query",),
}


def measure(member: Measured, against: References) -> dict[str, float]:
    encoded, steps = against.query, against.timesteps
    return {"": query_losses(member.family, encoded, steps, against.seed, against.batch).mean().item()}
