"""The training timesteps that TracIn and ReTrac at the final weights assume, for want of a training log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dmin.attribution.settings import method_seed, train_timestep
from dmin.runtime.seeds import derive_seed


def timestep_weights(ids: Sequence[str], timesteps: int, settings: Mapping[str, Any]) -> np.ndarray:
    """Return how much every timestep counts in the gradient of a training sample, float32 ``[N, T]``, rows of sum 1.

    ``settings["train_timestep"]`` is ``mean``, the expectation over the cached grid, or ``one``, a single timestep
    drawn for every sample from ``settings["seed"]`` and its id, as one epoch of training draws it.

    Raises:
        UserError: it is another value.
    """
    if train_timestep(settings) == "mean":
        return np.full((len(ids), timesteps), 1 / timesteps, dtype=np.float32)
    seed = method_seed(settings)
    drawn = [derive_seed(seed, "train_timestep", sample) % timesteps for sample in ids]
    return np.eye(timesteps, dtype=np.float32)[drawn]
