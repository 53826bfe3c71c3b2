"""Features of images by an encoder, which distances between sets of images are taken on."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from dmin.games.inception import inception_features
from dmin.models.image_embedding import efficientnet_embeddings
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
