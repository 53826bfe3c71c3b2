"""Pixel noise depends on the sample's seed only."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from dmin.data.noise import add_noise
from dmin.runtime.seeds import derive_generator


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_noise_has_the_asked_spread_and_keeps_the_form(mode: str) -> None:
    image = Image.new(mode, (64, 64), 128 if mode == "L" else (128, 128, 128))
    noised = add_noise(image, 0.1, derive_generator(0, "noise", "a/1"))
    assert noised.mode == mode and noised.size == (64, 64)
    difference = np.asarray(noised, dtype=float) - 128
    assert abs(difference.mean()) < 2 and abs(difference.std() / 255 - 0.1) < 0.005


def test_noise_is_seeded_by_id_not_by_order() -> None:
    image = Image.new("RGB", (8, 8), (100, 100, 100))
    ids = ["a/1", "a/2", "b/1"]
    first = {i: add_noise(image, 0.2, derive_generator(0, "noise", i)).tobytes() for i in ids}
    again = {i: add_noise(image, 0.2, derive_generator(0, "noise", i)).tobytes() for i in reversed(ids)}
    assert first == again
    assert len(set(first.values())) == 3
    assert add_noise(image, 0.2, derive_generator(1, "noise", "a/1")).tobytes() != first["a/1"]


def test_zero_noise_is_identity_and_extremes_are_clipped() -> None:
    white = Image.new("RGB", (8, 8), (255, 255, 255))
    assert add_noise(white, 0.0, derive_generator(0)).tobytes() == white.tobytes()
    assert 0.3 < (np.asarray(add_noise(white, 0.5, derive_generator(0))) == 255).mean() < 0.7
