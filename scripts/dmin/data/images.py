"""Image decoding and encoding."""

from __future__ import annotations

import io
import re
import warnings

import numpy as np
from PIL import Image, ImageOps

from dmin.data.buckets import Frame
from dmin.data.colour import correct_transparency, eight_bits, is_deep, is_transparent, to_srgb
from dmin.data.damage import without_extras
from dmin.data.outside import LARGEST_FILE, UnreadableImageError
from dmin.runtime.errors import UserError

# Never a format that starts a program, as PostScript does.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
LARGEST_SIDE = 65_535
LARGEST_PIXELS = 10**8

# How files begin that are often taken for such images.
_OTHERS = {
    b"%!PS": "PostScript",
    b"\xc5\xd0\xd3\xc6": "PostScript",
    b"%PDF": "PDF",
    b"8BPS": "a file of Photoshop",
    b"<svg": "SVG",
    b"<?xml": "SVG or other XML",
    b"\x93NUMPY": "an array of NumPy",
    b"\0\0\0\x0cjP": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\1\0": "an icon",
    b"P5": "PGM",
    b"P6": "PPM",
    b"PK\3\4": "a ZIP archive",
}

_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def open_image(data: bytes, name: str) -> Image.Image:
    """Decode an encoded image, the first one of an animation, in the mode that it is stored in.

    Broken or large texts, EXIF data and other extras beside the pixels do not matter.

    Raises:
        UnreadableImageError: the bytes are not an image of ``FORMATS``, or it is larger than the limits, which are
            checked before it is decoded; ``name`` says which.
    """
    if len(data) > LARGEST_FILE:
        raise _refused(name, f"is larger than {LARGEST_FILE // 2**20} MiB")
    try:
        return _load(data, name)
    except UnreadableImageError:
        raise
    except Exception as error:
        for bare in without_extras(data):
            try:
                return _load(bare, name)
            except UnreadableImageError:
                raise
            except Exception:
                continue
        # Pillow names the buffer by its address, which would differ between runs.
        reason = re.sub(r" <_io\.BytesIO.*?>", "", str(error))
        other = next((kind for start, kind in _OTHERS.items() if data[:64].lstrip().startswith(start)), "")
        if other or data[4:8] == b"ftyp":
            reason = f"it is {other or 'HEIC, AVIF or a film'}; {', '.join(FORMATS)} are read"
            other = f"'{name}': {reason}"
        raise UnreadableImageError(
            f"Image '{name}' is unreadable ({type(error).__name__}: {reason}); replace it, or set "
            "on_unreadable: skip for its source.",
            other,
        ) from error


def decode_image(data: bytes, name: str, size: int | Frame, mode: str = "RGB", profiles: bool = True) -> Image.Image:
    """Decode an encoded image, resize it until it covers its size, and crop it at the centre.

    The aspect ratio is kept and nothing is random, so training, caching and queries see the same pixels. Grey values
    of more than 8 bits are scaled by the type that they are stored in. Transparency is composed over white.

    Args:
        size: side of the square that it becomes, or the frame that gives it one of several shapes.
        profiles: convert an image that has an ICC profile to sRGB.

    Returns:
        An image of that size in ``mode`` (``RGB`` or ``L``).

    Raises:
        UnreadableImageError: as :func:`open_image`, or its numbers have no meaning as grey values.
    """
    image = open_image(data, name)
    upright, profile = _UPRIGHT.get(_orientation(image)), image.info.get("icc_profile")
    correct_transparency(image, data, name)
    if is_deep(image):
        image = eight_bits(image, name)
    if upright is not None:
        image = image.transpose(upright)
    if profiles and profile:
        image = to_srgb(image, profile)
    if is_transparent(image):
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, rgba)
    image = image.convert(mode)
    wanted = (Frame(size) if isinstance(size, int) else size).of(*image.size)
    if image.size != wanted:
        image = ImageOps.fit(image, wanted, Image.Resampling.LANCZOS)
    return image


def _load(data: bytes, name: str) -> Image.Image:
    with warnings.catch_warnings():
        # About sizes below the limit here, and about extras that do not matter.
        warnings.simplefilter("ignore")
        try:
            image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
        except Image.DecompressionBombError as error:
            raise _refused(name, f"has more than {LARGEST_PIXELS // 10**6} million pixels") from error
        width, height = image.size
        if max(width, height) > LARGEST_SIDE or width * height > LARGEST_PIXELS:
            raise _refused(
                name,
                f"is {width} x {height} pixels, above {LARGEST_PIXELS // 10**6} million or {LARGEST_SIDE} to a side",
            )
        image.load()
    return image


def _refused(name: str, reason: str) -> UnreadableImageError:
    return UnreadableImageError(f"Image '{name}' {reason}; make it smaller, or leave it out.", f"'{name}' {reason}")


def _orientation(image: Image.Image) -> int:
    """Return how the camera was held, upright (1) where the EXIF data do not say or are broken."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return int(image.getexif().get(_ORIENTATION, 1))
        except Exception:
            return 1


def encode_png(image: Image.Image) -> bytes:
    """Encode an image as PNG bytes."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=False)
    return buffer.getvalue()


def image_to_array(image: Image.Image) -> np.ndarray:
    """Return uint8 pixels of shape ``[height, width, channels]`` (one channel for grey images)."""
    array = np.asarray(image, dtype=np.uint8)
    return array[:, :, None] if array.ndim == 2 else array


def require_shape(image: np.ndarray, first: tuple[int, ...], name: object) -> None:
    """Check that an image of a table has the shape of the first, ``(height, width, channels)``.

    Raises:
        UserError: it has another.
    """
    if image.shape != first:
        raise UserError(
            f"Image '{name}' has shape {image.shape} where the images before it have {first}; make the table with one "
            "size and mode, without bucket_step."
        )
