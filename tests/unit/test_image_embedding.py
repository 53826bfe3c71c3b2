"""Image embeddings by EfficientNet-Lite0."""

from __future__ import annotations

import numpy as np
import pytest

from dmin.models.image_embedding import efficientnet_embeddings


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    noise[1] = 255
    noise[3] = noise[0]
    return noise


def test_embeddings_are_unit_rows_whatever_the_batch(pixels: np.ndarray) -> None:
    embeddings = efficientnet_embeddings(pixels, 4)
    assert embeddings.shape == (4, 1280) and embeddings.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(efficientnet_embeddings(pixels, 3), embeddings, atol=1e-5)
    # Equal images agree, others do not.
    similar = embeddings @ embeddings.T
    assert similar[0, 3] == pytest.approx(1.0, abs=1e-5)
    assert similar[0, 1] < 0.95 and similar[0, 2] < 0.999
