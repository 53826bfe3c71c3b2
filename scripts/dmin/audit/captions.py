"""Which other captions an image is tried under."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dmin.audit.neighbourhood import feature_blocks

# Neighbours among which other captions are looked for, times how many are asked for.
_LOOKED_AT = 20

Captioned = tuple[Sequence[str], np.ndarray]


def choose_captions(rows: Captioned, known: Captioned, count: int, same: bool) -> list[list[int]]:
    """Return, for each row, the places of training images whose captions it is tried under, the nearest first.

    They are those of the images nearest by features that have another caption than the row and than each other: an
    image under a wrong caption has neighbours with the right one. There are fewer where neighbours have fewer captions.

    Args:
        rows, known: captions ``[n]`` and unit features ``[n, d]`` of the rows and of the training images.
        count: captions for each row.
        same: the rows are the training images.
    """
    captions, features = rows
    texts = [_plain(text) for text in known[0]]
    chosen: list[list[int]] = []
    for part, block in feature_blocks(features, known[1]):
        looked = min(count * _LOOKED_AT, block.shape[1])
        nearest = np.argsort(-block, axis=1, kind="stable")[:, :looked]
        for row, places in zip(range(part.start, part.stop), nearest.tolist(), strict=True):
            seen = {_plain(captions[row])}
            taken: list[int] = []
            for place in places:
                if len(taken) < count and texts[place] not in seen and not (same and place == row):
                    seen.add(texts[place])
                    taken.append(place)
            chosen.append(taken)
    return chosen


def _plain(caption: str) -> str:
    return " ".join(caption.casefold().split())
