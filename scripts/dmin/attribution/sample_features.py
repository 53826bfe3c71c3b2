"""What images and captions show, as a few numbers each, without a model that was attributed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F

from dmin.attribution.words import word_counts
from dmin.data.sample_rows import SampleRows
from dmin.models.image_embedding import DECODED, efficientnet_embeddings
from dmin.runtime.errors import UserError

# A quarter of the encoder's usual cost.
EMBEDDED_SIDE = 112
# Images are averaged to this side, whatever their shape.
PIXEL_SIDE = 16
# The most frequent words of the captions that count.
WORDS = 512
# Samples that the axes are those of.
LEARNED = 1024


def raw_features(rows: SampleRows, words: Sequence[str], batch: int) -> dict[str, np.ndarray]:
    """Return the features of a table by kind, each ``[N, width]`` fp32.

    ``embedding`` is that of EfficientNet-Lite0, ``pixels`` the image averaged to 16 x 16 px, in [-1, 1], and ``words``
    which of the words the prompt has, of unit length.

    Raises:
        UserError: an image is unreadable.
    """
    embeddings, pixels = [], []
    for _, block in rows.pixel_blocks(DECODED):
        images = block if block.shape[-1] == 3 else np.repeat(block, 3, axis=-1)
        embeddings.append(efficientnet_embeddings(images, batch, EMBEDDED_SIDE))
        planes = torch.from_numpy(images).movedim(-1, 1).float() / 127.5 - 1
        pixels.append(F.adaptive_avg_pool2d(planes, PIXEL_SIDE).flatten(1).numpy())
    return {"embedding": np.concatenate(embeddings), "pixels": np.concatenate(pixels), "words": _words(rows, words)}


def frequent_words(rows: SampleRows) -> list[str]:
    """Return the words that most captions of a table have, at most 512, and none that all have."""
    found = Counter(word for _, captions in word_counts(rows) for count in captions for word in count)
    telling = [(-times, word) for word, times in found.items() if times < len(rows)]
    return [word for _, word in sorted(telling)[:WORDS]]


def _words(rows: SampleRows, words: Sequence[str]) -> np.ndarray:
    places = {word: place for place, word in enumerate(words)}
    values = np.zeros((len(rows), len(words)), dtype=np.float32)
    for block, captions in word_counts(rows):
        for row, count in zip(values[block], captions, strict=True):
            row[[places[word] for word in count if word in places]] = 1
    return values / np.maximum(1, np.sqrt(values.sum(1, keepdims=True)))


@dataclass(frozen=True)
class FeatureSpace:
    """The axes along which the features of a training set vary most, every kind of feature with the same variance.

    Attributes:
        mean: of the scaled features, ``[D]``.
        scales: what each kind is multiplied by; a kind that is the same for all samples is left out.
        axes: ``[D, width]``.
    """

    mean: np.ndarray
    scales: dict[str, float]
    axes: np.ndarray

    @classmethod
    def of(cls, features: dict[str, np.ndarray], width: int) -> Self:
        """Learn them from at most 1,024 evenly spread training samples.

        Raises:
            UserError: all samples have the same features.
        """
        count = len(features["pixels"])
        places = evenly(count, LEARNED)
        parts = {name: part[places].astype(np.float64) for name, part in features.items()}
        spread = {name: float(np.sqrt(part.var(0).sum())) for name, part in parts.items()}
        scales = {name: 1 / value for name, value in spread.items() if value > 1e-6}
        if not scales:
            raise UserError("All training images and captions are the same, so that no features tell them apart.")
        joined = np.concatenate([parts[name] * scale for name, scale in scales.items()], 1)
        mean = joined.mean(0)
        axes = np.linalg.svd(joined - mean, full_matrices=False)[2][:width].T
        return cls(mean, scales, axes)

    def coordinates(self, features: dict[str, np.ndarray]) -> np.ndarray:
        """Return the coordinates of samples and a one behind them, float64 ``[N, width + 1]``."""
        joined = np.concatenate([features[name] * np.float32(scale) for name, scale in self.scales.items()], 1)
        joined -= self.mean.astype(np.float32)
        along = (joined @ self.axes.astype(np.float32)).astype(np.float64)
        return np.pad(along, ((0, 0), (0, 1)), constant_values=1.0)


def evenly(count: int, most: int) -> list[int]:
    """Return at most ``most`` of ``count`` places, evenly spread, so that every subset has its share."""
    taken = min(most, count)
    return [place * count // taken for place in range(taken)]


def others(count: int, places: Iterable[int]) -> list[int]:
    """Return all other places, in order."""
    known = set(places)
    return [place for place in range(count) if place not in known]
