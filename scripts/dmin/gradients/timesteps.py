"""Named timestep grids: at which noise levels gradients are taken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dmin.runtime.errors import UserError


def cubic_positions(count: int) -> list[int]:
    """Return ``count + 1`` positions ``int(1000 * (k / count)**3)``, from 0 to 1000.

    Source: the spacing of DMin's published code, dense at high noise.
    """
    return [int(value) for value in np.linspace(0.0, 1.0, count + 1) ** 3 * 1000]


def timestep_grid(config: Mapping[str, Any], family: str) -> list[int]:
    """Return the training timesteps at which gradients are taken, high noise first.

    ``dmin_cubic`` follows DMin: positions into a family's descending list of 1,000 training timesteps (999..0), the
    last position dropped; Stable Diffusion 1's PNDM list is 1,001 long with 999 first, and its first position is
    dropped instead. ``uniform`` is D-TRAK's ``0, 1000/count, ...``. ``custom`` is ``config["custom"]`` as given.

    Args:
        config: ``grid`` (the name), ``count`` and ``custom``.
        family: the model family.

    Raises:
        UserError: a timestep is repeated or outside 0..999.
    """
    grid, count = config["grid"], config["count"]
    if grid == "custom":
        steps = sorted(config["custom"], reverse=True)
        if not steps:
            raise UserError("gradients.timesteps.custom is empty; list the timesteps that grid: custom stands for.")
    elif grid == "uniform":
        steps = [1000 * k // count for k in range(count)][::-1]
    elif family == "stable_diffusion":
        # PNDM with Stable Diffusion's offset lists 1000, 999, 999, 998, ..., 1: one repeat.
        descending = [1000, 999, *range(999, 0, -1)]
        steps = [descending[position] - 1 for position in cubic_positions(count)[1:]]
    else:
        steps = [999 - position for position in cubic_positions(count)[:-1]]
    outside = [step for step in steps if not 0 <= step <= 999]
    if outside:
        raise UserError(f"gradients.timesteps.custom has {outside[0]}; timesteps are 0 to 999.")
    if len(set(steps)) < len(steps):
        repeated = next(step for step in steps if steps.count(step) > 1)
        raise UserError(
            f"gradients.timesteps: grid {grid} with count {count} repeats timestep {repeated}; use a smaller count."
        )
    return steps
