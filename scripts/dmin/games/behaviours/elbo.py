"""Evidence lower bound of held-out samples."""

from __future__ import annotations

from dmin.games.bound import lower_bounds
from dmin.games.measured import Measured, References

BEHAVIOUR = {
    "reads": "model",
    "summary": "Evidence lower bound of held-out samples under denoising diffusion, over evenly spaced timesteps.",
    "range": "bits per value of the latent, larger is likelier",
    "needs": ("reference",),
}


def measure(member: Measured, against: References) -> dict[str, float]:
    bounds = lower_bounds(member.family, against.reference, against.timesteps, against.seed, against.batch)
    return {"": bounds.mean().item()}
