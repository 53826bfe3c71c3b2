"""Structural similarity of images."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from dmin.attribution import image_blocks
from dmin.data.sample_rows import SampleRows
from dmin.runtime.device import resolve_device
from dmin.runtime.errors import UserError
from dmin.runtime.pace import Pace
from dmin.settings.runs import Options

METHOD = {
    "inputs": "samples",
    "summary": "How alike the images are in structure.",
    "score": "structural similarity of the images",
    "range": "[-1, 1]",
    "label": "SSIM",
    "look": ("#8A7A1E", "v", "dotted"),
    "columns": ("image",),
    "device": True,
    "one_shape": True,
}

WINDOW = 11
SIGMA = 1.5
C1 = 0.01**2
C2 = 0.03**2
# Larger images are averaged down to about this side, as the authors' code does.
SIDE = 256
# Values of one map in a batch of pairs; a batch that stays in the processor's cache is fastest.
PAIR_VALUES = 2**16
# Bytes that are held for each value of a block: the image, its moments and what they are made from, in float64.
VALUE_BYTES = 64


def scores(queries: SampleRows, train: SampleRows, options: Options, pace: Pace) -> np.ndarray:
    """Return the mean SSIM of every pair of images, float32 ``[queries, train]`` in [-1, 1].

    Gaussian window of 11 x 11 with sigma 1.5, population covariances, data range 1, averaged over the windows that
    lie inside the image and then over channels. There is nothing to set.

    Raises:
        UserError: an image is unreadable or smaller than the window, or the shapes differ.

    Source: SSIM, Wang et al. 2004.
    """
    device = resolve_device(pace.device)
    pixels = queries.pixels()
    height, width = pixels.shape[1:3]
    if min(height, width) < WINDOW:
        raise UserError(
            f"SSIM needs images of at least {WINDOW} pixels, but they are {width} x {height}; leave it out."
        )
    left = _Moments(pixels, device)
    out = np.empty((len(queries), len(train)), dtype=np.float32)
    for rows, block in image_blocks.pixel_blocks(train, pixels.shape[1:], VALUE_BYTES):
        right = _Moments(block, device)
        pairs = max(1, PAIR_VALUES // left.images[0].numel())
        for row in range(len(left.images)):
            parts = [left.compare(row, right, slice(start, start + pairs)) for start in range(0, len(block), pairs)]
            out[row, rows] = torch.cat(parts).cpu().numpy()
    return out


class _Moments:
    """Images ``[n, channels, height, width]`` in [0, 1] with their local means and mean squares.

    In float64: variances are differences of squares, and in flat regions float32 would lose them.
    """

    def __init__(self, pixels: np.ndarray, device: torch.device) -> None:
        images = torch.from_numpy(pixels).to(device).movedim(-1, 1).double() / 255
        factor = max(1, round(min(images.shape[2:]) / SIDE))
        self.images = F.avg_pool2d(images, factor)
        self._down = _band(self.images.shape[2], device)
        self._across = _band(self.images.shape[3], device).T
        self.means = self._blur(self.images)
        self.squares = self._blur(self.images**2)

    def _blur(self, images: torch.Tensor) -> torch.Tensor:
        # Two products with band matrices are the separable window, and faster than convolving one channel.
        return self._down @ images @ self._across

    def compare(self, row: int, other: _Moments, rows: slice) -> torch.Tensor:
        """Return the SSIM of one image with some of another's, ``[n]``."""
        mean, others = self.means[row], other.means[rows]
        product = mean * others
        covariance = self._blur(self.images[row] * other.images[rows]) - product
        means = mean**2 + others**2
        variances = self.squares[row] + other.squares[rows] - means
        similarity = (2 * product + C1) * (2 * covariance + C2) / ((means + C1) * (variances + C2))
        return similarity.mean((1, 2, 3))


def _band(size: int, device: torch.device) -> torch.Tensor:
    """Return the matrix ``[size - 10, size]`` whose rows hold the window at every place inside the image."""
    distance = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    window = torch.exp(-0.5 * (distance / SIGMA) ** 2)
    window /= window.sum()
    band = torch.zeros(size - WINDOW + 1, size, dtype=torch.float64)
    for place in range(len(band)):
        band[place, place : place + WINDOW] = window
    return band.to(device)
