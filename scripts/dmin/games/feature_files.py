"""Files of features of images."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from dmin.runtime.atomic import atomic_path
from dmin.runtime.errors import UserError


def write_features(features: Mapping[str, np.ndarray], out: Path) -> None:
    """Write the features of some members by name, in order."""
    names = {f"{place:06d}": values for place, values in enumerate(features.values())}
    with atomic_path(out) as temporary:
        save_file(names, temporary, metadata={"members": json.dumps(list(features))})


def read_features(path: Path) -> dict[str, np.ndarray]:
    """Return what :func:`write_features` wrote.

    Raises:
        UserError: the file is torn or foreign.
    """
    try:
        with safe_open(path, framework="np") as file:
            names = json.loads(file.metadata()["members"])
            return {name: file.get_tensor(f"{place:06d}") for place, name in enumerate(names)}
    except (SafetensorError, KeyError, TypeError, OSError, ValueError) as error:
        raise UserError(f"Features '{path}' are torn or foreign ({error}); delete the file and run again.") from error
