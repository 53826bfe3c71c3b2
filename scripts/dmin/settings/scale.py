"""How large a pilot measures the scale of the gradients."""

from __future__ import annotations

from .runs import Scale

# Sixteen samples change the scores by less than a percent.
USUAL_PILOT = 64


def pilot_size(settings: Scale, count: int) -> int:
    """Return how many of ``count`` training samples the scale is measured on; more than there are only if asked for."""
    return settings["pilot"] or min(USUAL_PILOT, count)
