"""NDA: which training images the patches of a noised image would be denoised to."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from dmin.attribution.image_blocks import pixel_blocks
from dmin.data.sample_rows import SampleRows
from dmin.runtime.device import resolve_device
from dmin.runtime.pace import Pace
from dmin.runtime.seeds import derive_generator
from dmin.settings.runs import Options

METHOD = {
    "inputs": "samples",
    "summary": "NDA: which training patches the best denoiser would make the query's noised patches of; no gradients.",
    "score": "mean over places p of `softmax(-|x_p - sqrt(abar) y|^2 / 2(1 - abar))`, y training patches, summed in i",
    "range": "[0, 1]; the scores of a query sum to 1",
    "label": "NDA, patches",
    "look": ("#4D4D4D", "s", "dotted"),
    "columns": ("image",),
    "options": ("nda_timestep", "nda_patch", "nda_side", "seed"),
    "device": True,
    "one_shape": True,
}

# What stands outside of an image, as in the authors' code: patches match where the border runs through them alike.
OUTSIDE = 10.0
# Bytes of the products of patches at a time, and of what is kept of some queries until all training images are seen.
PRODUCT_BYTES = 2**25
KEPT_BYTES = 2**28


def signal(timestep: int) -> float:
    """Return ``abar``, what DDPM's linear schedule leaves of an image at a timestep, as a share of its variance."""
    return float(np.prod(1 - np.linspace(1e-4, 2e-2, 1000)[: timestep + 1]))


def scores(queries: SampleRows, train: SampleRows, options: Options, pace: Pace) -> np.ndarray:
    """Return the share of each training image in the denoised patches of every query, float32 ``[queries, train]``.

    A query is noised to ``nda_timestep``. At each of its places the patch of ``nda_patch`` pixels is compared with
    those at all places of all training images; the weights of the denoiser that is best for these patches, a softmax,
    are summed by image and averaged over the places. Images are averaged down to about ``nda_side`` pixels first.
    Queries share one noise, of ``seed``. The cost is ``queries * train * side^4 * patch^2 * channels`` products.

    Raises:
        UserError: an image is unreadable, or the shapes differ.

    Source: NDA (Zhao et al., ICML 2026, arXiv 2510.14269), on one scale; its code counts the 100 best places of an
    image, here all count.
    """
    device, patch, side = resolve_device(pace.device), options["nda_patch"], options["nda_side"]
    abar, pixels = signal(options["nda_timestep"]), queries.pixels()
    small = _shrunk(pixels, side, device)
    noise = torch.randn(small.shape[1:], generator=derive_generator(options["seed"], "nda")).to(device)
    asked = _patches(abar**0.5 * small + (1 - abar) ** 0.5 * noise, patch)
    out = np.empty((len(queries), len(train)), dtype=np.float32)
    together = max(1, KEPT_BYTES // (4 * asked.shape[1] * len(train)))
    for first in range(0, len(queries), together):
        part = asked[first : first + together]
        # Of every place of a query and image: the log of the sum of weights.
        logs = torch.empty(*part.shape[:2], len(train))
        for rows, block in pixel_blocks(train, pixels.shape[1:]):
            for place, images in _some(_patches(abar**0.5 * _shrunk(block, side, device), patch), part.shape[1]):
                span = slice(rows.start + place, rows.start + place + len(images))
                for query, row in zip(part, logs, strict=True):
                    row[:, span] = _log_weights(query, images, 1 - abar).cpu()
        out[first : first + together] = logs.softmax(-1).mean(1).numpy()
    return out


def _shrunk(pixels: np.ndarray, side: int, device: torch.device) -> torch.Tensor:
    """Return images ``[n, channels, h, w]`` in [-1, 1], averaged down by a whole factor."""
    images = torch.from_numpy(pixels).to(device).movedim(-1, 1).float() / 127.5 - 1
    return F.avg_pool2d(images, max(1, round(min(images.shape[2:]) / side)))


def _patches(images: torch.Tensor, patch: int) -> torch.Tensor:
    """Return the patches around every place of images, ``[n, places, channels * patch * patch]``."""
    return F.unfold(F.pad(images, (patch // 2,) * 4, value=OUTSIDE), patch).mT.contiguous()


def _some(images: torch.Tensor, places: int) -> list[tuple[int, torch.Tensor]]:
    """Return the patches of some images at a time with the place of the first, as many as products have room for."""
    count = max(1, PRODUCT_BYTES // (4 * places * images.shape[1]))
    return [(first, images[first : first + count]) for first in range(0, len(images), count)]


def _log_weights(query: torch.Tensor, images: torch.Tensor, variance: float) -> torch.Tensor:
    """Return the log of the summed weights of each image at every place of a query, ``[places, images]``."""
    flat = images.flatten(0, 1)
    lengths = query.square().sum(1, keepdim=True) + flat.square().sum(1)
    distances = torch.addmm(lengths, query, flat.T, alpha=-2).clamp_(min=0)
    return (distances / (-2 * variance)).unflatten(1, images.shape[:2]).logsumexp(-1)
