"""What is measured on a pilot: a few training samples."""

from __future__ import annotations

from typing import TypedDict

# Sixteen samples change the scores by less than a percent.
USUAL_PILOT = 64


class Curvature(TypedDict):
    """The curvature that a query's gradient is multiplied by the inverse of, in the cache of ekfac."""

    pilot: int | None
    widest: int
    damping: float


def pilot_size(asked: int | None, count: int) -> int:
    """Return how many of ``count`` training samples a pilot takes; more than there are only if asked for."""
    return asked or min(USUAL_PILOT, count)
