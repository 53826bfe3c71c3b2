"""What EfficientNet-Lite0 is given."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from dmin.models import image_embedding
from dmin.models.image_embedding import efficientnet_embeddings


class Encoder:
    """Notes the shapes of images, and gives each its mean colour."""

    def __init__(self) -> None:
        self.shapes: list[Sequence[int]] = []

    def extract_features(self, images: torch.Tensor) -> torch.Tensor:
        self.shapes.append(tuple(images.shape))
        return images


@pytest.mark.parametrize("shape", [(32, 32), (20, 32), (32, 20), (40, 24)])
def test_images_of_any_shape_are_resized_to_a_square(monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int]) -> None:
    encoder = Encoder()
    monkeypatch.setattr(image_embedding, "_encoder", lambda: encoder)
    pixels = np.random.default_rng(0).integers(0, 256, (3, *shape, 3), dtype=np.uint8)
    found = efficientnet_embeddings(pixels, 2, 32)
    assert encoder.shapes == [(2, 3, 32, 32), (1, 3, 32, 32)] and found.shape == (3, 3)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
