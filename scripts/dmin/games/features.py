"""Features of images by an encoder, which distances between sets of images are taken on."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from dmin.games.inception import inception_features
from dmin.models.image_embedding import efficientnet_embeddings
from dmin.runtime.atomic import atomic_path
from dmin.runtime.errors import UserError
from dmin.runtime.pace import Pace
from dmin.settings.games import Encoder


def encode_features(pixels: np.ndarray, encoder: Encoder, pace: Pace) -> np.ndarray:
    """Return the features ``[n, d]`` fp32 of uint8 images ``[n, size, size, 3]``.

    Those of EfficientNet have a mean square of 1, so that distances on them are of the size of those on Inception's.

    Raises:
        UserError: the weights of Inception cannot be read.
    """
    if encoder["kind"] == "inception":
        return inception_features(pixels, Path(encoder["path"] or ""), pace)
    unit = efficientnet_embeddings(pixels, pace.batch)
    return unit * np.float32(math.sqrt(unit.shape[1]))


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
