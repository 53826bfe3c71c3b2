"""A small classifier of grey images, which tells the class of a generated image."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

from dmin.runtime.errors import UserError


class ClassifierNetwork(nn.Module):
    """Three convolutions with batch normalisation and pooling, then one linear layer over all places.

    Args:
        size: side of the images in pixels.
        classes: number of classes.
        channels: channels of the three convolutions.
    """

    def __init__(self, size: int, classes: int, channels: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for number, (before, after) in enumerate(zip((1, *channels), channels, strict=False)):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
            if number < 2:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.dropout = nn.Dropout(0.3)
        self.head = nn.Linear(channels[-1] * (size // 4) ** 2, classes)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return logits ``[batch, classes]`` of ``pixels [batch, 1, size, size]`` in [-1, 1]."""
        logits: torch.Tensor = self.head(self.dropout(self.features(pixels).flatten(1)))
        return logits


@dataclass(frozen=True)
class Classifier:
    """A trained network in eval mode, the names of its classes in order, and the side of its images."""

    network: ClassifierNetwork
    classes: tuple[str, ...]
    size: int

    def classify(self, images: np.ndarray, batch: int = 500) -> tuple[np.ndarray, np.ndarray]:
        """Classify images, colour ones by their mean over channels, of another size resized (bicubic).

        Drawings on an empty ground are what it knows, and a generated ground is rarely quite empty, so the range of
        each image is stretched from its median, the ground, to its maximum; see :func:`level_ground`.

        Args:
            images: uint8 ``[images, side, side, channels]``.

        Returns:
            The class of each image as its name ``[images]``, and the probability given to it, float32 ``[images]``.
        """
        return self.classify_levelled(self.level(images), batch)

    def level(self, images: np.ndarray) -> torch.Tensor:
        """Return uint8 images ``[n, side, side, channels]`` as the network sees them, ``[n, 1, size, size]``."""
        pixels = level_ground(to_pixels(images))
        if pixels.shape[2:] != (self.size, self.size):
            pixels = F.interpolate(pixels, (self.size, self.size), mode="bicubic", antialias=True).clamp(-1, 1)
        return pixels

    def classify_levelled(self, pixels: torch.Tensor, batch: int = 500) -> tuple[np.ndarray, np.ndarray]:
        """Return what :meth:`classify` does, of images ``[n, 1, size, size]`` that :meth:`level` gave."""
        confidence, found = self._probabilities(pixels, batch).max(dim=1)
        return np.array(self.classes)[found.numpy()], confidence.numpy()

    def probabilities(self, images: np.ndarray, batch: int = 500) -> np.ndarray:
        """Return the probability of every class, float32 ``[images, classes]``, of images as for :meth:`classify`."""
        found: np.ndarray = self._probabilities(self.level(images), batch).numpy()
        return found

    @torch.no_grad()
    def pooled_features(self, images: np.ndarray, batch: int = 500) -> np.ndarray:
        """Return what the last convolution finds, the mean over places, float32 ``[images, channels]``.

        Args:
            images: as for :meth:`classify`.
        """
        parts = [self.network.features(part).mean(dim=(2, 3)) for part in self.level(images).split(batch)]
        found: np.ndarray = torch.cat(parts).numpy()
        return found

    @torch.no_grad()
    def _probabilities(self, pixels: torch.Tensor, batch: int) -> torch.Tensor:
        return torch.cat([F.softmax(self.network(part), dim=1) for part in pixels.split(batch)])


def to_pixels(images: np.ndarray) -> torch.Tensor:
    """Return uint8 images ``[n, size, size, channels]`` as grey pixels ``[n, 1, size, size]`` in [-1, 1]."""
    return torch.from_numpy(images).float().mean(dim=-1).unsqueeze(1) / 127.5 - 1


def level_ground(pixels: torch.Tensor) -> torch.Tensor:
    """Stretch each image ``[n, 1, size, size]`` so that its median becomes -1 and its maximum 1; below is cut at -1.

    An even image becomes -1 everywhere. An image whose median is -1 and whose maximum is 1 stays as it is.
    """
    flat = pixels.flatten(1)
    ground, top = flat.median(dim=1, keepdim=True).values, flat.max(dim=1, keepdim=True).values
    level = 2 * (flat - ground) / (top - ground).clamp(min=1e-6) - 1
    return level.clamp(min=-1).view_as(pixels)


def description_of(weights: Path) -> Path:
    """Return the JSON file that describes a file of weights."""
    return weights.with_suffix(".json")


def load_classifier(weights: Path) -> Classifier:
    """Load a classifier: safetensors ``weights`` and the JSON file beside them with ``classes, size, channels``.

    Raises:
        UserError: a file is missing, or the two do not fit.
    """
    facts: dict[str, Any]
    try:
        facts = json.loads(description_of(weights).read_text())
        classes, size = tuple(facts["classes"]), int(facts["size"])
        network = ClassifierNetwork(size, len(classes), tuple(facts["channels"]))
        network.load_state_dict(load_file(weights))
    except FileNotFoundError as error:
        raise UserError(
            f"File '{error.filename or weights}' does not exist; set queries.classifier.path to a classifier's "
            "weights, with its JSON file beside them."
        ) from error
    except Exception as error:
        raise UserError(
            f"Classifier '{weights}' cannot be loaded ({str(error).splitlines()[0]}); make it again with the target "
            "classifiers."
        ) from error
    return Classifier(network.float().eval(), classes, size)
