"""At which noise levels a family's gradients are taken."""

from __future__ import annotations

from dmin.catalogue.families import FAMILIES
from dmin.runtime.errors import UserError
from dmin.settings.runs import Timesteps
from dmin.settings.timesteps import grid_timesteps


def timestep_grid(config: Timesteps, family: str) -> list[int]:
    """Return the training timesteps at which gradients are taken, high noise first.

    Args:
        config: ``grid`` (the name), ``count`` and ``custom``; see :func:`dmin.settings.timesteps.grid_timesteps`.
        family: the model family.

    Raises:
        UserError: there is none, or a timestep is repeated or outside 0..999.
    """
    grid, count = config["grid"], config["count"]
    steps = grid_timesteps(config, FAMILIES[family].pndm)
    if not steps:
        raise UserError("gradients.timesteps.custom is empty; list the timesteps that grid: custom stands for.")
    outside = [step for step in steps if not 0 <= step <= 999]
    if outside:
        raise UserError(f"gradients.timesteps.custom has {outside[0]}; timesteps are 0 to 999.")
    if len(set(steps)) < len(steps):
        repeated = next(step for step in steps if steps.count(step) > 1)
        raise UserError(
            f"gradients.timesteps: grid {grid} with count {count} repeats timestep {repeated}; use a smaller count."
        )
    return steps
