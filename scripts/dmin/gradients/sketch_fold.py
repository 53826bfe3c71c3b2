"""From a wide sketch to a narrower one."""

from __future__ import annotations

from torch import Tensor

from dmin.errors import UserError


def fold(sketch: Tensor, v: int) -> Tensor:
    """Return the exact sketch at the smaller width ``v``: sums of contiguous groups, ``[..., width] -> [..., v]``.

    Folding in steps equals folding at once. The fold of a unit sketch has no unit length.

    Raises:
        UserError: ``v`` is not positive or does not divide the width.

    Source: DMin, gradient compression.
    """
    width = sketch.shape[-1]
    if v < 1 or width % v:
        raise UserError(
            f"Width v={v} does not divide cache_dim {width}: choose divisors of cache_dim, such as {width // 2}."
        )
    return sketch.unflatten(-1, (v, width // v)).sum(-1)
