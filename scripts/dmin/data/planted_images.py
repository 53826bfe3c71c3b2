"""Changes of images that an audit is to find: what a duplicate looks like after a detour, and blank images."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping

from PIL import Image, ImageEnhance, ImageOps


def _cropped(image: Image.Image) -> Image.Image:
    """Cut a sixteenth of the side off each edge and enlarge what is left."""
    width, height = image.size
    x, y = max(1, width // 16), max(1, height // 16)
    return image.crop((x, y, width - x, height - y)).resize((width, height), Image.Resampling.LANCZOS)


def _compressed(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=40)
    return Image.open(buffer).convert(image.mode)


CHANGES: Mapping[str, Callable[[Image.Image], Image.Image]] = {
    "blank": lambda image: Image.new(image.mode, image.size, 128 if image.mode == "L" else (128, 128, 128)),
    "compressed": _compressed,
    "cropped": _cropped,
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.8),
    "mirrored": ImageOps.mirror,
}
# Those that leave an image a duplicate.
TRANSFORMS = ("compressed", "cropped", "darker", "mirrored")
