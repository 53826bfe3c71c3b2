"""Image decoding and the one conversion between pixels and tensors."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image, ImageOps

from dmin.errors import UserError


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
        raise UserError(
            f"Image '{name}' is unreadable ({type(error).__name__}: {error}); replace it, or set "
            "on_unreadable: skip for its source."
        ) from error
    image = ImageOps.exif_transpose(image)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, rgba)
    image = image.convert(mode)
    if image.size != (size, size):
        image = ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)
    return image


def encode_png(image: Image.Image) -> bytes:
    """Encode an image as PNG bytes."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=False)
    return buffer.getvalue()


def image_to_array(image: Image.Image) -> np.ndarray:
    """Return uint8 pixels of shape ``[height, width, channels]`` (one channel for grey images)."""
    array = np.asarray(image, dtype=np.uint8)
    return array[:, :, None] if array.ndim == 2 else array


def pixels_to_tensor(pixels: np.ndarray) -> torch.Tensor:
    """Convert uint8 pixels ``[..., height, width, channels]`` to float32 ``[..., channels, height, width]`` in [-1, 1]."""
    tensor = torch.from_numpy(np.ascontiguousarray(pixels)).to(torch.float32)
    return tensor.movedim(-1, -3) / 127.5 - 1.0


def tensor_to_pixels(tensor: torch.Tensor) -> np.ndarray:
    """Convert float ``[..., channels, height, width]`` in [-1, 1] to uint8 ``[..., height, width, channels]``."""
    pixels = ((tensor.float().clamp(-1, 1) + 1.0) * 127.5).round().to(torch.uint8)
    return pixels.movedim(-3, -1).cpu().numpy()
