"""Number formats in which sketches can be kept."""

from __future__ import annotations

import math

import numpy as np

from dmin.runtime.errors import UserError

VALUE_BITS = {"fp32": 32, "fp16": 16, "int8": 8, "int4": 4, "one_bit": 1}
# Of formats that keep integers: the largest.
_LEVELS = {"int8": 127, "int4": 7}


def stored(rows: np.ndarray, storage: str) -> np.ndarray:
    """Return float32 ``[n, T, v]`` as they are read back from ``storage``, a key of ``VALUE_BITS``.

    int8 and int4 keep one float32 scale per sample and timestep, the row's largest absolute value over 127 or 7, and
    round to the nearest of 255 or 15 levels: an error of at most half a scale. one_bit keeps signs, a zero's as plus,
    and the row's mean absolute value. A row of zeros stays zero.

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
    if storage in _LEVELS:
        scale = np.abs(rows).max(axis=-1, keepdims=True) / _LEVELS[storage]
        levels = np.rint(rows / np.where(scale > 0, scale, 1)).astype(np.int8)
        return levels.astype(np.float32) * scale
    if storage == "one_bit":
        return np.where(rows < 0, np.float32(-1), np.float32(1)) * np.abs(rows).mean(axis=-1, keepdims=True)
    raise UserError(f"Storage '{storage}' is unknown; choose one of {', '.join(VALUE_BITS)}.")


def stored_bytes(timesteps: int, v: int, storage: str) -> int:
    """Return the bytes of one sample's sketches ``[timesteps, v]``, each row in whole bytes with its scale."""
    bits = VALUE_BITS[storage]
    return timesteps * (math.ceil(v * bits / 8) + (4 if bits < 16 else 0))
