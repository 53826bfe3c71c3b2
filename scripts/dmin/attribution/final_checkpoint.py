"""The training timesteps that TracIn and ReTrac at the final weights assume, for want of a training log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dmin.attribution.settings import train_timestep
from dmin.runtime.seeds import derive_seed
from dmin.settings.runs import Options


def timestep_weights(ids: Sequence[str], timesteps: int, options: Options) -> np.ndarray:
    """Return how much every timestep counts in the gradient of a training sample, float32 ``[N, T]``, rows of sum 1.

    ``options["train_timestep"]`` is ``mean``, the expectation over the cached grid, or ``one``, a single timestep
    drawn for every sample from ``options["seed"]`` and its id, as one epoch of training draws it.

    Raises:
        UserError: it is another value.
    """
    if train_timestep(options) == "mean":
        return np.full((len(ids), timesteps), 1 / timesteps, dtype=np.float32)
    drawn = [derive_seed(options["seed"], "train_timestep", sample) % timesteps for sample in ids]
    return np.eye(timesteps, dtype=np.float32)[drawn]


def timestep_facts(options: Options) -> dict[str, Any]:
    """Return what :func:`timestep_weights` depends on, as it is recorded beside scores."""
    value = train_timestep(options)
    return {"train_timestep": value} | ({"seed": options["seed"]} if value == "one" else {})
