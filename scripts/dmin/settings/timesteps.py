"""Named timestep grids: at which noise levels gradients are taken."""

from __future__ import annotations

from .runs import Timesteps


def cubic_positions(count: int) -> list[int]:
    """Return ``count + 1`` positions ``int(1000 * (k / count)**3)``, from 0 to 1000.

    In the order of operations of the published code, on which the last digit of a position hangs.

    Source: the spacing of DMin's published code, dense at high noise.
    """
    return [int((place * (1 / count) if place < count else 1.0) ** 3 * 1000) for place in range(count + 1)]


def grid_timesteps(timesteps: Timesteps, pndm: bool) -> list[int]:
    """Return the training timesteps of a grid, high noise first; a large count may repeat one.

    ``dmin_cubic`` follows DMin: positions into a family's descending list of 1,000 training timesteps (999..0), the
    last position dropped; PNDM's list is 1,001 long with 999 first, and its first position is dropped instead.
    ``uniform`` is D-TRAK's ``0, 1000/count, ...``. ``custom`` is the timesteps as given.

    Args:
        pndm: the family samples with PNDM.
    """
    count = timesteps["count"]
    if timesteps["grid"] == "custom":
        return sorted(timesteps["custom"], reverse=True)
    if timesteps["grid"] == "uniform":
        return [1000 * place // count for place in range(count)][::-1]
    if pndm:
        # PNDM with Stable Diffusion's offset lists 1000, 999, 999, 998, ..., 1: one repeat.
        descending = [1000, 999, *range(999, 0, -1)]
        return [descending[position] - 1 for position in cubic_positions(count)[1:]]
    return [999 - position for position in cubic_positions(count)[:-1]]
