"""The features of the images of members, stored once for all behaviours that read them."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from dmin.data.samples import read_samples, sample_pixels
from dmin.games.feature_files import write_features
from dmin.games.features import encode_features
from dmin.runtime.pace import Pace
from dmin.settings.games import Encoder

log = logging.getLogger(__name__)


def embed_members(images: Path, encoder: Encoder, out: Path, pace: Pace) -> None:
    """Write the features of every member of a table of images; see :func:`write_features`."""
    write_features(
        {name: encode_features(pixels, encoder, pace) for name, pixels in member_images(images).items()}, out
    )


def embed_train(train: Path, encoder: Encoder, out: Path, pace: Pace) -> None:
    """Write the features of the training images, in an order that no class has a say in, under the name ``train``."""
    table = read_samples(train, ["id", "image"])
    order = np.random.default_rng(0).permutation(len(table))
    write_features({"train": encode_features(sample_pixels(table.iloc[order]), encoder, pace)}, out)
    log.info("%d training images", len(table))


def member_images(images: Path) -> dict[str, np.ndarray]:
    """Return the images of every member of a table, uint8 ``[images, size, size, 3]``, by its name ``set/repeat``."""
    table = read_samples(images, ["id", "set", "repeat", "image"])
    groups = table.groupby(["set", "repeat"], sort=False)
    return {f"{number}/{repeat}": sample_pixels(rows) for (number, repeat), rows in groups}
