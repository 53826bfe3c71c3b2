"""Features of the images of a data set, which an audit tells its neighbours by."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from dmin.data.sample_rows import SampleRows
from dmin.games.feature_files import write_features
from dmin.models.image_embedding import efficientnet_embeddings

log = logging.getLogger(__name__)

# A quarter of the encoder's usual cost: the neighbours of an image need less detail than distances between sets.
SIDE = 112
# Images decoded at once.
_DECODED = 64


def embed_samples(samples: Path, out: Path, batch: int) -> None:
    """Write unit features ``[N, 1280]`` of a table's images by EfficientNet-Lite0 at 112 px, under ``features``.

    Raises:
        UserError: the table is torn, or an image unreadable.
    """
    rows = SampleRows(samples, ["image"])
    parts = [efficientnet_embeddings(pixels, batch, SIDE) for _, pixels in rows.pixel_blocks(_DECODED)]
    write_features({"features": np.concatenate(parts)}, out)
    log.info("%d images", len(rows))
