"""Image decoding and encoding."""

from __future__ import annotations

import io
import re

import numpy as np
from PIL import Image, ImageOps

from dmin.runtime.errors import UserError


def decode_image(data: bytes, name: str, size: int, mode: str = "RGB") -> Image.Image:
    """Decode an encoded image, resize its short side to ``size`` and centre-crop to a square.

    The aspect ratio is kept and nothing is random, so training, caching and queries see the same pixels.
    Transparency is composed over white.

    Returns:
        A ``size x size`` image in ``mode`` (``RGB`` or ``L``).

    Raises:
        UserError: the bytes are not a readable image; ``name`` says which.
    """
    try:
        image: Image.Image = Image.open(io.BytesIO(data))
        image.load()
    except Exception as error:
        # Pillow names the buffer by its address, which would differ between runs.
        reason = re.sub(r" <_io\.BytesIO.*?>", "", str(error))
        raise UserError(
            f"Image '{name}' is unreadable ({type(error).__name__}: {reason}); replace it, or set "
            "on_unreadable: skip for its source."
        ) from error
    image = ImageOps.exif_transpose(image)
    if image.mode in ("I", "I;16", "I;16B", "F"):
        image = _to_eight_bits(image)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, rgba)
    image = image.convert(mode)
    if image.size != (size, size):
        image = ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)
    return image


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Scale a 16-bit or float grey image to 8 bits; Pillow's own conversion clips instead."""
    values = np.asarray(image, dtype=np.float64)
    top = (
        1.0
        if image.mode == "F" and values.max(initial=0.0) <= 1.0
        else 65535.0
        if values.max(initial=0.0) > 255
        else 255.0
    )
    return Image.fromarray((values.clip(0, top) * (255.0 / top)).round().astype(np.uint8))


def encode_png(image: Image.Image) -> bytes:
    """Encode an image as PNG bytes."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=False)
    return buffer.getvalue()


def image_to_array(image: Image.Image) -> np.ndarray:
    """Return uint8 pixels of shape ``[height, width, channels]`` (one channel for grey images)."""
    array = np.asarray(image, dtype=np.uint8)
    return array[:, :, None] if array.ndim == 2 else array
