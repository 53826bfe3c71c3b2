"""Number formats in which sketches can be kept."""

from __future__ import annotations

import numpy as np

from dmin.runtime.errors import UserError

VALUE_BYTES = {"fp32": 4, "fp16": 2, "int8": 1}


def stored(rows: np.ndarray, storage: str) -> np.ndarray:
    """Return float32 ``[n, T, v]`` as they are read back from ``storage``: ``fp32``, ``fp16`` or ``int8``.

    int8 keeps one float32 scale per sample and timestep, the row's largest absolute value over 127, and rounds to the
    nearest of 255 levels: an error of at most half a scale. A row of zeros stays zero.

    Raises:
        UserError: the storage is unknown, or a value of ``rows`` is outside the range of fp16.
    """
    if storage == "fp32":
        return rows
    if storage == "fp16":
        with np.errstate(over="ignore"):
            halves = rows.astype(np.float16)
        if np.isinf(halves).any():
            raise UserError("A sketch value exceeds 65504, the largest of fp16; store it as fp32.")
        return halves.astype(np.float32)
    if storage == "int8":
        scale = np.abs(rows).max(axis=-1, keepdims=True) / 127
        levels = np.rint(rows / np.where(scale > 0, scale, 1)).astype(np.int8)
        return levels.astype(np.float32) * scale
    raise UserError(f"Storage '{storage}' is unknown; choose one of {', '.join(VALUE_BYTES)}.")


def stored_bytes(timesteps: int, v: int, storage: str) -> int:
    """Return the bytes of one sample's sketches ``[timesteps, v]``, the scales of int8 included."""
    return timesteps * (v * VALUE_BYTES[storage] + (4 if storage == "int8" else 0))
