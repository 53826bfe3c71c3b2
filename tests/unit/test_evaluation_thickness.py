"""Stroke thickness of bars of known width, and of real digits where they are at hand."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dmin.data.thickness import stroke_thickness, stroke_thicknesses
from dmin.runtime.errors import UserError

DIGITS = Path(os.environ.get("DMIN_MNIST", "resources/mnist")) / "test.parquet"


def bar(width: int, tall: bool = True, ink: int = 255, ground: int = 0) -> np.ndarray:
    image = np.full((28, 28), ground, dtype=np.uint8)
    image[3:25, 12 : 12 + width] = ink
    return image if tall else image.T


@pytest.mark.parametrize("width", [2, 3, 4, 6])
@pytest.mark.parametrize("tall", [True, False])
def test_a_bar_is_as_thick_as_it_is_wide(width: int, tall: bool) -> None:
    assert stroke_thickness(bar(width, tall)) == pytest.approx(width, abs=0.5)


@pytest.mark.parametrize("width", [2, 3, 5, 8])
def test_a_ring_is_as_thick_as_its_wall(width: int) -> None:
    # Slanted in every direction, without ends, and with smooth edges as scanned digits have.
    rows, columns = np.mgrid[:28, :28] - 13.5
    inside = width / 2 - np.abs(np.hypot(rows, columns) - 8)
    assert stroke_thickness(np.clip(inside + 0.5, 0, 1)) == pytest.approx(width, abs=0.1)


def test_brightness_and_type_do_not_matter() -> None:
    plain = stroke_thickness(bar(4))
    assert stroke_thickness(bar(4, ink=180, ground=40)) == pytest.approx(plain)
    assert stroke_thickness(bar(4) / 255.0) == pytest.approx(plain)
    assert stroke_thickness(bar(4)) == plain


def test_a_constant_image_has_none() -> None:
    values = stroke_thicknesses(np.stack([np.zeros((28, 28)), np.ones((28, 28)), bar(3)]))
    assert values.shape == (3,)
    assert np.isnan(values).tolist() == [True, True, False]


def test_other_input_is_refused() -> None:
    with pytest.raises(UserError, match=r"shape \(28, 28, 3\) .* give a grey one"):
        stroke_thickness(np.zeros((28, 28, 3)))
    with pytest.raises(UserError, match="not finite"):
        stroke_thickness(np.full((28, 28), np.nan))


@pytest.mark.skipif(not DIGITS.exists(), reason="set DMIN_MNIST to a folder that holds MNIST's test.parquet")
def test_real_digits_thicken_when_dilated() -> None:
    from skimage.morphology import dilation

    rows = pd.read_parquet(DIGITS)["image"].head(40)
    digits = np.stack([np.asarray(Image.open(io.BytesIO(row["bytes"])).convert("L")) for row in rows])
    thin = stroke_thicknesses(digits)
    thick = stroke_thicknesses(np.stack([dilation(digit) for digit in digits]))
    assert 2 < thin.mean() < 4 and thin.min() > 0.8
    # A cross-shaped dilation adds a pixel on each side of a straight stroke, and fills narrow loops.
    assert (thick - thin).mean() == pytest.approx(1.9, abs=0.6)
    assert (thick > thin).mean() > 0.95
