"""Images of every mode and size become RGB squares; what cannot be read is named."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dmin.data.images import decode_image
from dmin.runtime.errors import UserError

RED, BLUE = (200, 10, 10), (10, 10, 200)


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    """Return an image as a file's bytes."""
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def plain(colour: tuple[int, ...], size: tuple[int, int] = (12, 9), mode: str = "RGB") -> Image.Image:
    """Return an image of one colour."""
    return Image.new(mode, size, colour)


def test_image_smaller_than_asked_is_enlarged() -> None:
    image = decode_image(encoded(plain(RED, (3, 5))), "small", 16)
    assert image.size == (16, 16) and np.array_equal(np.unique(np.asarray(image).reshape(-1, 3), axis=0), [RED])


@pytest.mark.parametrize(
    ("image", "colour"),
    [
        (Image.new("L", (12, 9), 77), (77, 77, 77)),
        (plain((*RED, 255), mode="RGBA"), RED),
        (plain((*RED, 0), mode="RGBA"), (255, 255, 255)),
        (plain(RED).convert("P", palette=Image.Palette.ADAPTIVE), RED),
        (Image.new("LA", (12, 9), (50, 0)), (255, 255, 255)),
        (Image.new("1", (12, 9), 1), (255, 255, 255)),
    ],
    ids=["grey", "opaque", "transparent", "palette", "grey transparent", "black and white"],
)
def test_every_mode_becomes_colour_over_white(image: Image.Image, colour: tuple[int, int, int]) -> None:
    decoded = decode_image(encoded(image), "x", 8)
    assert decoded.mode == "RGB" and decoded.getpixel((4, 4)) == colour


def test_animation_gives_its_first_frame() -> None:
    data = encoded(plain(RED), "GIF", save_all=True, append_images=[plain(BLUE), plain(BLUE)], duration=50)
    red, _, blue = np.asarray(decode_image(data, "animated", 8), dtype=int)[4, 4]
    assert red > 150 and blue < 60


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "WEBP"])
def test_torn_files_are_named(form: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(pixels), form)
    for bad in (data[: len(data) // 3], b"", b"<html>not found</html>"):
        with pytest.raises(UserError, match=r"Image 'x\.img' is unreadable .* set on_unreadable: skip"):
            decode_image(bad, "x.img", 8)
