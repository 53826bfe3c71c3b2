"""Files of features of images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from dmin.models.sealed_tensors import SealedTensors, write_tensors


def write_features(features: Mapping[str, np.ndarray], out: Path) -> None:
    """Write the features of some members by name, in order, with checksums."""
    tensors = {f"{place:06d}": torch.from_numpy(values) for place, values in enumerate(features.values())}
    write_tensors(out, {"members": list(features)}, tensors)


def read_features(path: Path) -> dict[str, np.ndarray]:
    """Return what :func:`write_features` wrote.

    Raises:
        UserError: the file is torn or foreign, or fails its checksums.
    """
    with SealedTensors(path, "Features") as file:
        return {name: file.tensor(f"{place:06d}").numpy() for place, name in enumerate(file.facts["members"])}
