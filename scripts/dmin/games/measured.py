"""What behaviours are measured on: a member, and what it is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dmin.data.samples import read_samples, sample_pixels
from dmin.games.feature_files import read_features
from dmin.models.classifier import Classifier, load_classifier
from dmin.models.encoded import EncodedSamples
from dmin.models.families.family import Family
from dmin.models.load import TrainedModel, load_trained
from dmin.runtime.device import resolve_device


@dataclass(frozen=True)
class Measured:
    """A member: what it generated, the features of that, and its model; each is there where a behaviour reads it.

    Attributes:
        given_images: uint8 ``[images, size, size, 3]``.
        given_features: float32 ``[images, d]``.
    """

    given_images: np.ndarray | None = None
    given_features: np.ndarray | None = None
    model: TrainedModel | None = None
    device: str = "cpu"

    @property
    def images(self) -> np.ndarray:
        """Its images, uint8 ``[images, size, size, 3]``."""
        return _there(self.given_images)

    @property
    def features(self) -> np.ndarray:
        """The features of its images, float32 ``[images, d]``."""
        return _there(self.given_features)

    @cached_property
    def family(self) -> Family:
        """Its model, loaded."""
        if self.model is None:
            raise ValueError("The behaviour reads a model, which its entry does not say.")
        return load_trained(self.model, resolve_device(self.device), ["denoiser"])


def _there(values: np.ndarray | None) -> np.ndarray:
    if values is None:
        raise ValueError("The behaviour reads what its entry does not say.")
    return values


@dataclass(frozen=True)
class ReferenceFiles:
    """The files that members are compared with; None where no behaviour of the job needs one."""

    train: Path | None = None
    classifier: Path | None = None
    reference: Path | None = None
    query: Path | None = None
    query_images: Path | None = None

    @classmethod
    def of(cls, files: Mapping[str, Any]) -> ReferenceFiles:
        """Return what a job was given, by name."""
        return cls(**{entry.name: Path(files[entry.name]) for entry in fields(cls) if files.get(entry.name)})


@dataclass(frozen=True)
class References:
    """What members are compared with, read when a behaviour asks for it.

    Attributes:
        timesteps: at which losses are taken.
        seed: of their noises.
        batch: rows that pass through a model together.
        clusters: of training images; None where a classifier tells groups apart.
        number: the query's, among the images of a member.
    """

    files: ReferenceFiles
    timesteps: list[int]
    seed: int
    batch: int
    clusters: int | None
    number: int

    @cached_property
    def train(self) -> np.ndarray:
        """The features of the training images, float32 ``[N, d]``."""
        return next(iter(read_features(_named(self.files.train)).values()))

    @cached_property
    def classifier(self) -> Classifier:
        """The game's classifier."""
        return load_classifier(_named(self.files.classifier))

    @cached_property
    def reference(self) -> EncodedSamples:
        """The held-out samples."""
        return EncodedSamples.load(_named(self.files.reference))

    @cached_property
    def query(self) -> EncodedSamples:
        """The query, one sample."""
        return EncodedSamples.load(_named(self.files.query))

    @cached_property
    def query_image(self) -> np.ndarray:
        """The query as the whole model made it, uint8 ``[size, size, 3]``."""
        image: np.ndarray = sample_pixels(read_samples(_named(self.files.query_images)))[0]
        return image


def _named(path: Path | None) -> Path:
    if path is None:
        raise ValueError("The behaviour needs a file that its entry does not name.")
    return path
