"""Features of images by an encoder, which distances between sets of images are taken on."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from dmin.games.inception import inception_features, load_inception
from dmin.models.classifier import load_classifier
from dmin.models.image_embedding import efficientnet_embeddings
from dmin.runtime.device import resolve_device
from dmin.runtime.pace import Pace
from dmin.settings.games import Encoder


def open_encoder(encoder: Encoder, pace: Pace) -> Callable[[np.ndarray], np.ndarray]:
    """Return what gives the features ``[n, d]`` fp32 of uint8 images ``[n, size, size, 3]``.

    Those of EfficientNet have a mean square of 1, so that distances on them are of the size of those on Inception's.

    Those of the classifier are means over places of its last convolution, few enough for the covariance of a hundred
    images; they tell apart what tells its classes apart, and not how much noise there is on an empty ground.

    Raises:
        UserError: the weights of Inception or of the classifier cannot be read.
    """
    if encoder["kind"] == "classifier":
        classifier = load_classifier(Path(encoder["path"] or ""))
        return lambda pixels: classifier.pooled_features(pixels, pace.batch)
    if encoder["kind"] == "inception":
        network = load_inception(Path(encoder["path"] or "")).to(resolve_device(pace.device))
        return lambda pixels: inception_features(pixels, network, pace.batch)
    return lambda pixels: _efficientnet_features(pixels, pace.batch)


def _efficientnet_features(pixels: np.ndarray, batch: int) -> np.ndarray:
    unit = efficientnet_embeddings(pixels, batch)
    return unit * np.float32(math.sqrt(unit.shape[1]))
