"""From a wide sketch to a narrower one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from dmin.runtime.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import torch

Array = TypeVar("Array", "np.ndarray", "torch.Tensor")


def fold(sketch: Array, v: int) -> Array:
    """Return the exact sketch at the smaller width ``v``: sums of contiguous groups, ``[..., width] -> [..., v]``.

    Takes and gives NumPy arrays or tensors. Folding in steps equals folding at once; the fold of a unit sketch has
    no unit length.

    Raises:
        UserError: ``v`` is not positive or does not divide the width.

    Source: DMin, gradient compression.
    """
    width = sketch.shape[-1]
    if v < 1 or width % v:
        raise UserError(
            f"Width v={v} does not divide cache_dim {width}: choose divisors of cache_dim, such as {width // 2}."
        )
    groups: Any = sketch.reshape(*sketch.shape[:-1], v, width // v)
    return groups.sum(-1)
