"""What the numbers of an image mean: grey values of many bits, and colour profiles."""

from __future__ import annotations

import io
import logging
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

from dmin.data.outside import UnreadableImageError

log = logging.getLogger(__name__)

_PNG = b"\x89PNG\r\n\x1a\n"
# Tags of TIFF: how many bits a number has, whether it is signed, and whether 0 is white.
_BITS, _SAMPLE_FORMAT, _PHOTOMETRIC = 258, 339, 262
_ROWS = 256  # scaled at a time
_GRID = 9  # levels of each colour by which a profile is compared with sRGB
_SAME = 2  # of 255; what rounding makes of sRGB itself
_SPACES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}


def is_deep(image: Image.Image) -> bool:
    """Tell whether an image is grey with numbers that are not the 0 to 255 of 8 bits."""
    signed = image.mode == "L" and _tag(image, _SAMPLE_FORMAT, 1) == 2
    return signed or image.mode in ("I", "F") or image.mode.startswith("I;")


def is_transparent(image: Image.Image) -> bool:
    """Tell whether something can be seen through an image."""
    return image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info


def correct_transparency(image: Image.Image, data: bytes, name: str) -> None:
    """Give the transparent colour of a PNG file in 8 bits; Pillow compares it with pixels as if it were.

    Raises:
        UnreadableImageError: it is one of 16-bit colours, of which 8 bits are read.
    """
    if not data.startswith(_PNG) or "transparency" not in image.info:
        return
    bits, colours = data[24], data[25]
    if colours == 0 and bits in (2, 4):
        image.info["transparency"] *= 255 // (2**bits - 1)
    elif colours == 2 and bits == 16:
        reason = "has a transparent colour of 16 bits, which its neighbours cannot be told from"
        raise UnreadableImageError(f"Image '{name}' {reason}; store it with an alpha channel.", f"'{name}' {reason}")


def eight_bits(image: Image.Image, name: str) -> Image.Image:
    """Scale a grey image by the type of its numbers to 8 bits; Pillow's own conversion clips instead.

    Floats are taken as 0 to 1. A colour that is transparent becomes white.

    Raises:
        UnreadableImageError: it has a number below 0, a float that is not finite or above 1, uses so little of 32
            bits that it would be black, or is of a kind that Pillow takes the bytes of in the wrong order.
    """
    if image.mode in ("I", "F") and image.info.get("compression", "raw") != "raw" and _is_big_endian(image):
        raise _meaningless(name, "is a compressed TIFF file of big-endian numbers of 32 bits, which cannot be read")
    values, signed, top = np.asarray(image), _tag(image, _SAMPLE_FORMAT, 1) == 2, 1.0
    if image.mode == "L":
        values = values.view(np.int8)
    if image.mode != "F":
        bits = _tag(image, _BITS, 16)
        top = float(2 ** (bits - signed) - 1)
        if bits == 32 and not signed:
            values = values.view(np.uint32)
    low, high = values.min(initial=0), values.max(initial=0)
    if image.mode == "F" and not np.isfinite(values).all():
        raise _meaningless(name, "has numbers that are not finite")
    if low < 0 or high > top:
        raise _meaningless(name, f"has numbers from {low:g} to {high:g}, outside 0 to {top:g}")
    if top > 65535 and 0 < high < top / 510:
        raise _meaningless(name, f"uses {high} of {top:.0f}, the largest of its 32 bits, and would be black")
    grey = np.empty(values.shape, dtype=np.uint8)
    for start in range(0, len(values), _ROWS):
        part = values[start : start + _ROWS].astype(np.float64)
        grey[start : start + _ROWS] = (part * (255.0 / top)).round()
    if _tag(image, _PHOTOMETRIC, 1) == 0:
        grey = 255 - grey
    if isinstance(image.info.get("transparency"), int):
        grey[values == image.info["transparency"]] = 255
    return Image.fromarray(grey)


def _tag(image: Image.Image, tag: int, default: int) -> int:
    """Return the first number of a tag of a TIFF file; ``default`` where it has none, as other files."""
    value = getattr(image, "tag_v2", {}).get(tag, default)
    return int(value[0] if isinstance(value, tuple) else value)


def _is_big_endian(image: Image.Image) -> bool:
    return getattr(getattr(image, "tag_v2", None), "prefix", b"") == b"MM"


def _meaningless(name: str, reason: str) -> UnreadableImageError:
    return UnreadableImageError(
        f"Image '{name}' {reason}; store it with 8 or 16 bits, or as floats from 0 to 1.", f"'{name}' {reason}"
    )


def to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Convert an 8-bit image from the colours of an ICC profile to sRGB, transparency kept.

    It stays as it is where the profile is sRGB already, is broken, or is not one for the image's kind of colours.
    """
    alpha = None
    if is_transparent(image):
        rgba = image.convert("LA" if image.mode in ("L", "LA", "1") else "RGBA")
        alpha = rgba.getchannel("A")
        colour = rgba.getchannel("L") if rgba.mode == "LA" else rgba.convert("RGB")
    elif image.mode in ("1", "P"):
        colour = image.convert("L" if image.mode == "1" else "RGB")
    else:
        colour = image
    transform = _transform(profile, colour.mode)
    if transform is None:
        return image
    converted = transform.apply(colour)
    if alpha is not None:
        converted.putalpha(alpha)
    return converted


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return what converts images of a mode to sRGB, or None where nothing is to convert."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = source.profile.xcolor_space.strip()
        if _SPACES.get(space) != mode:
            log.info("a colour profile of %s is passed over: the image is of mode %s", space, mode)
            return None
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
        if mode == "CMYK":
            return transform
        levels = np.linspace(0, 255, _GRID if mode == "RGB" else 256).round().astype(np.uint8)
        colours = np.stack(np.meshgrid(*[levels] * 3), -1).reshape(1, -1, 3) if mode == "RGB" else levels[None]
        given = Image.fromarray(colours)
        made = transform.apply(given)
        difference = np.abs(np.asarray(made, dtype=int) - np.asarray(given.convert("RGB"), dtype=int))
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError) as error:
        log.warning("a broken colour profile is passed over (%s)", error)
        return None
    return None if difference.max() <= _SAME else transform
