"""Fold a sketch to a smaller width."""

from __future__ import annotations

import numpy as np

from dmin.errors import UserError


def fold(sketch: np.ndarray, v: int) -> np.ndarray:
    """Sum contiguous groups of a sketch ``[..., width]`` to ``[..., v]``; exactly the sketch of width ``v``.

    Source: DMin, gradient compression; groups of the same permutation nest.

    Raises:
        UserError: ``v`` does not divide the width.
    """
    width = sketch.shape[-1]
    if v < 1 or width % v:
        raise UserError(f"The width v={v} does not divide cache_dim {width}; use a width that does.")
    return sketch.reshape(*sketch.shape[:-1], v, width // v).sum(-1)
