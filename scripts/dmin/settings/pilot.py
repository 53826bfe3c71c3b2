"""How many training samples a pilot measures the scale or the curvature of the gradients on."""

from __future__ import annotations

# Sixteen samples change the scores by less than a percent.
USUAL_PILOT = 64


def pilot_size(asked: int | None, count: int) -> int:
    """Return how many of ``count`` training samples a pilot takes; more than there are only if asked for."""
    return asked or min(USUAL_PILOT, count)
