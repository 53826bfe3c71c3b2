"""The features of the images of members, stored once for all behaviours that read them."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import numpy as np

from dmin.data.sample_rows import SampleRows
from dmin.data.samples import read_samples, sample_pixels
from dmin.games.feature_files import write_features
from dmin.games.features import open_encoder
from dmin.models.image_embedding import DECODED
from dmin.runtime.pace import Pace
from dmin.settings.games import Encoder

log = logging.getLogger(__name__)


def embed_members(images: Path, encoder: Encoder, out: Path, pace: Pace) -> None:
    """Write the features of every member of a table of images; see :func:`write_features`."""
    encode = open_encoder(encoder, pace)
    write_features({name: encode(pixels) for name, pixels in member_images(images).items()}, out)


def embed_train(train: Path, encoder: Encoder, out: Path, pace: Pace) -> None:
    """Write the features of the training images, in an order that no class has a say in, under the name ``train``.

    Images are decoded in blocks of whole batches.

    Raises:
        UserError: an image is unreadable or of another size or mode than the first, or there is none.
    """
    rows, encode = SampleRows(train, ["image"]), open_encoder(encoder, pace)
    places = np.argsort(np.random.default_rng(0).permutation(len(rows)))
    features = np.empty((0, 0), dtype=np.float32)
    for taken, pixels in rows.equal_blocks(pace.batch * math.ceil(DECODED / pace.batch)):
        found = encode(pixels)
        if taken.start == 0:
            features = np.empty((len(rows), found.shape[1]), dtype=found.dtype)
        features[places[taken]] = found
    write_features({"train": features}, out)
    log.info("%d training images", len(rows))


def member_images(images: Path) -> dict[str, np.ndarray]:
    """Return the images of every member of a table, uint8 ``[images, size, size, 3]``, by its name ``set/repeat``."""
    table = read_samples(images, ["id", "set", "repeat", "image"])
    groups = table.groupby(["set", "repeat"], sort=False)
    return {f"{number}/{repeat}": sample_pixels(rows) for (number, repeat), rows in groups}
