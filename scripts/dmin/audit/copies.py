"""Which images are changed copies of each other: darkened, compressed, enlarged, mirrored or cropped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

# Copies correlate at least so much: chosen on one planting of the example, judged on two others (docs/audit.md).
LEAST = 0.9925
# Side of the thumbnails that crops are taken of, that of what is compared, and the most that a crop takes off an edge.
_TAKEN, _COMPARED, _TRIMMED = 32, 16, 4
# Contrast, as a standard deviation of 255 levels, below which there is nothing to compare.
_EMPTY = 1.0
# Rows that are compared with all images at once.
_ROWS = 1024


@dataclass(frozen=True)
class Copies:
    """What images are copies of, each over all of them ``[n]``.

    Attributes:
        similarity: the largest correlation with an image of other pixels, in -1..1; 0 for what has no content.
        places: of the images that it correlates with at least ``LEAST``.
    """

    similarity: np.ndarray
    places: list[list[int]]


def thumbnail(pixels: np.ndarray) -> np.ndarray:
    """Return uint8 pixels ``[height, width, 3]`` at 32 x 32, averaged."""
    return np.asarray(Image.fromarray(pixels).resize((_TAKEN, _TAKEN), Image.Resampling.BOX))


def find_copies(thumbnails: np.ndarray, digests: Sequence[str]) -> Copies:
    """Compare every two images, each against crops and mirrored crops of the other.

    The measure is the correlation of both at 16 x 16, each channel without its mean, so that light and contrast do not
    count; it is the largest over crops that take up to an eighth off each edge, in steps of a 32nd of the side.

    Args:
        thumbnails: uint8 ``[n, 32, 32, 3]``; see :func:`thumbnail`.
        digests: of the pixels of each image; images that share one are no changed copies.
    """
    views = _views(thumbnails)
    codes = np.unique(np.asarray(digests), return_inverse=True)[1]
    similarity, places = np.zeros(len(thumbnails)), []
    for rows, block in _blocks(views):
        block[codes[rows, None] == codes[None, :]] = 0
        similarity[rows] = block.max(axis=1, initial=-1)
        places += [np.flatnonzero(row).tolist() for row in block >= LEAST]
    return Copies(similarity, places)


def _blocks(views: Sequence[np.ndarray]) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield the similarities of some images with all, ``[rows, n]``: either may be cropped, or mirrored."""
    plain = views[0]
    for start in range(0, len(plain), _ROWS):
        rows = slice(start, min(start + _ROWS, len(plain)))
        block = plain[rows] @ plain.T
        for view in views[1:]:
            np.maximum(block, plain[rows] @ view.T, out=block)
            np.maximum(block, view[rows] @ plain.T, out=block)
        yield rows, block


def _views(thumbnails: np.ndarray) -> list[np.ndarray]:
    """Return every crop, as it is and mirrored, as unit rows ``[n, 768]``; the whole image comes first."""
    views = []
    for trim in range(_TRIMMED + 1):
        values = np.stack([_cropped(image, trim) for image in thumbnails]).astype(np.float32)
        values -= values.mean(axis=(1, 2), keepdims=True)
        views += [_unit(values), _unit(values[:, :, ::-1])]
    return views


def _cropped(image: np.ndarray, trim: int) -> np.ndarray:
    """Return what is left without ``trim`` pixels at each edge, enlarged as who crops an image enlarges it."""
    whole, box = (_TAKEN, _TAKEN), (trim, trim, _TAKEN - trim, _TAKEN - trim)
    cut = Image.fromarray(image)
    if trim:
        cut = cut.resize(whole, Image.Resampling.LANCZOS, box)
    return np.asarray(cut.resize((_COMPARED, _COMPARED), Image.Resampling.BOX))


def _unit(values: np.ndarray) -> np.ndarray:
    rows = values.reshape(len(values), -1)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    least = _EMPTY * np.sqrt(rows.shape[1])
    unit: np.ndarray = np.where(length > least, rows / np.maximum(length, least), 0).astype(np.float32)
    return unit
