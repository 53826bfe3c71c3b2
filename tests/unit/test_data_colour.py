"""Grey values are scaled by the type that they are stored in, colour profiles are converted, damage beside the pixels
does not matter."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from icc import linear_grey_profile, turned_profile
from PIL import Image, ImageCms, PngImagePlugin

from dmin.data.images import decode_image
from dmin.data.outside import UnreadableImageError

RED = (200, 10, 10)


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    """Return an image as a file's bytes."""
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def grey(value: float, kind: Any) -> Image.Image:
    """Return a grey image of one value, stored as a type."""
    return Image.fromarray(np.full((6, 6), value, dtype=kind))


def pixel(data: bytes, **options: Any) -> Any:
    """Return a pixel of an image as it is decoded."""
    return decode_image(data, "x.img", 4, **options).getpixel((2, 2))


@pytest.mark.parametrize(
    ("image", "form", "expected"),
    [
        (grey(32896, np.uint16), "PNG", 128),
        (grey(514, np.uint16), "PNG", 2),
        (grey(255, np.uint16), "TIFF", 1),
        (grey(65535, np.uint16), "TIFF", 255),
        (Image.new("I;16B", (6, 6), 32896), "TIFF", 128),
        (grey(2**30, np.int32), "TIFF", 128),
        (grey(2**31 - 1, np.int32), "TIFF", 255),
        (grey(0, np.int32), "TIFF", 0),
        (grey(0.5, np.float32), "TIFF", 128),
        (grey(1.0, np.float32), "TIFF", 255),
        (grey(0.004, np.float32), "TIFF", 1),
    ],
)
def test_grey_values_are_scaled_by_their_type_not_by_their_maximum(
    image: Image.Image, form: str, expected: int
) -> None:
    assert pixel(encoded(image, form)) == (expected,) * 3


def test_unsigned_32_bits_and_white_that_is_zero() -> None:
    data = encoded(grey(-1, np.int32), "TIFF")
    # The tag of signed numbers becomes that of unsigned ones; -1 is then the largest.
    signed, unsigned = struct.pack("<HHIHH", 339, 3, 1, 2, 0), struct.pack("<HHIHH", 339, 3, 1, 1, 0)
    assert data.count(signed) == 1
    assert pixel(data.replace(signed, unsigned)) == (255,) * 3
    data = encoded(grey(65535, np.uint16), "TIFF")
    black, white = struct.pack("<HHIHH", 262, 3, 1, 1, 0), struct.pack("<HHIHH", 262, 3, 1, 0, 0)
    assert data.count(black) == 1
    assert pixel(data.replace(black, white)) == (0,) * 3


def test_transparent_value_of_16_bits_is_over_white() -> None:
    values = np.full((6, 6), 100, dtype=np.uint16)
    values[:3] = 40000
    decoded = np.asarray(decode_image(encoded(Image.fromarray(values), transparency=100), "x", 6))
    assert decoded[0, 0, 0] == 156 and decoded[5, 5, 0] == 255


@pytest.mark.parametrize(
    ("value", "kind", "reason"),
    [
        (255.0, np.float32, "has numbers from 0 to 255, outside 0 to 1"),
        (-0.5, np.float32, "has numbers from -0.5 to 0, outside 0 to 1"),
        (np.nan, np.float32, "has numbers that are not finite"),
        (np.inf, np.float32, "has numbers that are not finite"),
        (-5, np.int32, "has numbers from -5 to 0"),
        (65535, np.int32, "uses 65535 of 2147483647, the largest of its 32 bits, and would be black"),
    ],
)
def test_numbers_without_a_meaning_are_refused(value: float, kind: Any, reason: str) -> None:
    with pytest.raises(UnreadableImageError) as caught:
        pixel(encoded(grey(value, kind), "TIFF"))
    assert (
        reason in str(caught.value) and reason in caught.value.reason and "store it with 8 or 16" in str(caught.value)
    )


MODES: dict[str, tuple[Image.Image, str, tuple[int, int, int]]] = {
    "1": (Image.new("1", (6, 6), 1), "PNG", (255, 255, 255)),
    "L": (Image.new("L", (6, 6), 77), "PNG", (77, 77, 77)),
    "LA": (Image.new("LA", (6, 6), (0, 128)), "PNG", (127, 127, 127)),
    "P": (Image.new("RGB", (6, 6), RED).convert("P", palette=Image.Palette.ADAPTIVE), "PNG", RED),
    "PA": (Image.new("RGBA", (6, 6), (*RED, 255)).quantize(4).convert("PA"), "TIFF", RED),
    "RGB": (Image.new("RGB", (6, 6), RED), "BMP", RED),
    "RGBA": (Image.new("RGBA", (6, 6), (*RED, 0)), "WEBP", (255, 255, 255)),
    "CMYK": (Image.new("CMYK", (6, 6), (0, 255, 255, 0)), "TIFF", (255, 0, 0)),
    "CMYK of JPEG": (Image.new("CMYK", (6, 6), (0, 255, 255, 0)), "JPEG", (255, 0, 0)),
    "YCbCr": (Image.new("RGB", (6, 6), RED).convert("YCbCr"), "TIFF", (200, 10, 10)),
    "LAB": (Image.new("LAB", (6, 6), (255, 128, 128)), "TIFF", (255, 255, 255)),
}


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_gives_its_colour(mode: str) -> None:
    image, form, expected = MODES[mode]
    assert np.abs(np.subtract(pixel(encoded(image, form)), expected)).max() <= 3


def test_transparent_palette_is_over_white() -> None:
    image = Image.new("P", (6, 6), 1)
    image.putpalette([0, 0, 0, *RED])
    assert pixel(encoded(image)) == RED and pixel(encoded(image, transparency=1)) == (255, 255, 255)


def test_profiles_are_converted_unless_asked_not_to() -> None:
    profile = turned_profile()
    red = encoded(Image.new("RGB", (6, 6), (255, 0, 0)), icc_profile=profile)
    # Its red is the green of sRGB.
    assert np.abs(np.subtract(pixel(red), (0, 255, 0))).max() <= 3
    assert pixel(red, profiles=False) == (255, 0, 0)
    clear = encoded(Image.new("RGBA", (6, 6), (255, 0, 0, 0)), icc_profile=profile)
    assert pixel(clear) == (255, 255, 255)
    half = encoded(Image.new("RGBA", (6, 6), (255, 0, 0, 128)), icc_profile=profile)
    assert np.abs(np.subtract(pixel(half), (127, 255, 127))).max() <= 3
    palette = Image.new("P", (6, 6), 1)
    palette.putpalette([0, 0, 0, 255, 0, 0])
    assert np.abs(np.subtract(pixel(encoded(palette, icc_profile=profile)), (0, 255, 0))).max() <= 3


def test_profiles_of_grey_values_are_converted() -> None:
    data = encoded(Image.new("L", (6, 6), 55), icc_profile=linear_grey_profile())
    # Linear light .216 is the sRGB value .502.
    assert np.abs(np.subtract(pixel(data), 128)).max() <= 2
    deep = encoded(grey(55 * 257, np.uint16), icc_profile=linear_grey_profile())
    assert pixel(deep) == pixel(data)


def test_srgb_itself_and_profiles_of_other_colours_change_nothing() -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (6, 6, 3), dtype=np.uint8))
    for profile in (srgb, linear_grey_profile(), b"no profile at all"):
        assert decode_image(encoded(noise, icc_profile=profile), "x", 6).tobytes() == noise.tobytes()


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_chunk(part: bytes) -> bytes:
    """Return a red PNG file with something before its pixels."""
    data = encoded(Image.new("RGB", (6, 6), RED))
    place = data.index(b"IDAT") - 4
    return data[:place] + part + data[place:]


def segment(marker: int, data: bytes) -> bytes:
    """Return a segment of a JPEG file."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


LONG = zlib.compress(b"x" * 4_000_000)
BESIDE = {
    "a compressed text of 4 MB": with_chunk(chunk(b"zTXt", b"Comment\0\0" + LONG)),
    "an international text of 4 MB": with_chunk(chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + LONG)),
    "a text of unknown compression": with_chunk(chunk(b"zTXt", b"Comment\0\7" + LONG)),
    "a text with a wrong checksum": with_chunk(chunk(b"tEXt", b"a\0b")[:-4] + b"\0\0\0\0"),
    "a torn time": with_chunk(chunk(b"tIME", b"")),
    "a torn animation": with_chunk(chunk(b"acTL", b"\0")),
    "a resolution that is none": with_chunk(chunk(b"pHYs", b"\0")),
    "a colour profile that is none": with_chunk(chunk(b"iCCP", b"p\0\0" + zlib.compress(b"none"))),
    "a colour profile of 4 MB": with_chunk(chunk(b"iCCP", b"p\0\0" + LONG)),
    "EXIF data that are none": with_chunk(chunk(b"eXIf", b"\1\2\3")),
    "EXIF data that point beyond themselves": with_chunk(chunk(b"eXIf", b"II*\0\xff\xff\xff\x7f")),
}


@pytest.mark.parametrize("what", BESIDE)
def test_damage_beside_the_pixels_does_not_matter(what: str) -> None:
    assert pixel(BESIDE[what]) == RED


@pytest.mark.parametrize(
    "part",
    [
        segment(0xE1, b"Exif\0\0II*\0\xff\xff\xff\x7f"),
        segment(0xE1, b"Exif\0\0nonsense"),
        segment(0xE2, b"ICC_PROFILE\0\1\1nonsense"),
        segment(0xE2, b"MPF\0nonsense"),
        segment(0xED, b"Photoshop 3.0\0008BIM\x04\x04\x00\x00\xff\xff\xff\xff"),
        segment(0xFE, b"x" * 60_000),
        segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta"),
    ],
)
def test_damage_in_the_segments_of_a_jpeg_does_not_matter(part: bytes) -> None:
    data = encoded(Image.new("RGB", (8, 8), RED), "JPEG")
    assert np.abs(np.subtract(pixel(data[:2] + part + data[2:]), RED)).max() <= 3


def test_orientation_is_kept_where_other_exif_data_are_broken() -> None:
    image = Image.new("RGB", (8, 8), (0, 0, 0))
    image.paste((255, 255, 255), (0, 0, 8, 4))
    exif = Image.Exif()
    exif[0x0112] = 3
    whole = exif.tobytes()
    # A second entry of a type that there is not, beyond the end of the data.
    broken = whole[:14] + struct.pack("<H" if b"II" in whole else ">H", 1) + whole[16:] + b"\xff" * 3
    for data in (whole, broken):
        decoded = np.asarray(decode_image(encoded(image, "PNG", exif=data), "x", 8))
        assert decoded[7, 4, 0] == 255 and decoded[0, 4, 0] == 0


def test_texts_of_workflow_tools_do_not_matter() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("workflow", "{" * 3_000_000)
    info.add_itxt("prompt", "é" * 2_000_000, zip=True)
    assert pixel(encoded(Image.new("RGB", (6, 6), RED), pnginfo=info)) == RED


def png(bits: int, colours: int, row: bytes, transparent: bytes) -> bytes:
    """Return a 4 x 4 PNG file of equal rows with a transparent colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 4, 4, bits, colours, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"tRNS", transparent), (b"IDAT", zlib.compress((b"\0" + row) * 4)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in chunks)


@pytest.mark.parametrize(
    ("bits", "row", "value"), [(1, b"\xf0", 0), (2, b"\x55", 1), (2, b"\0", 0), (4, b"\x55\x55", 5), (8, b"\7" * 4, 7)]
)
def test_transparent_grey_of_few_bits_is_white(bits: int, row: bytes, value: int) -> None:
    seen = 0 if bits == 1 else value * 255 // (2**bits - 1)
    assert pixel(png(bits, 0, row, struct.pack(">H", value))) == (255,) * 3
    if bits > 1:
        assert pixel(png(bits, 0, row, struct.pack(">H", value + 1))) == (seen,) * 3


def test_transparent_colour_of_sixteen_bits_is_refused() -> None:
    row = struct.pack(">HHH", 0xFF00, 0, 0) * 4
    with pytest.raises(UnreadableImageError, match=r"transparent colour of 16 bits, .* cannot be told from; store"):
        decode_image(png(16, 2, row, struct.pack(">HHH", 0x00FF, 0, 0)), "x.png", 4)


def tiff(order: str, bits: int, form: int, data: bytes) -> bytes:
    """Return a 4 x 4 grey TIFF file, compressed with deflate, in a byte order."""
    packed = zlib.compress(data)
    tags = {256: 4, 257: 4, 258: bits, 259: 8, 262: 1, 273: 8, 277: 1, 278: 4, 279: len(packed), 339: form}
    fields = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in tags.items())
    start = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}I", 8 + len(packed))
    return start + packed + struct.pack(f"{order}H", len(tags)) + fields + bytes(4)


def test_signed_grey_values_of_eight_bits_are_scaled_by_their_type() -> None:
    assert pixel(tiff("<", 8, 2, np.full(16, 100, np.int8).tobytes())) == (201,) * 3
    with pytest.raises(UnreadableImageError, match="numbers from -5 to 0"):
        pixel(tiff("<", 8, 2, np.full(16, -5, np.int8).tobytes()))


@pytest.mark.parametrize(("kind", "form", "value"), [("f4", 3, 0.5), ("i4", 2, 2**30)])
def test_compressed_numbers_are_read_in_their_byte_order_or_refused(kind: str, form: int, value: float) -> None:
    assert pixel(tiff("<", 32, form, np.full(16, value, f"<{kind}").tobytes())) == (128,) * 3
    with pytest.raises(UnreadableImageError, match="big-endian numbers of 32 bits"):
        pixel(tiff(">", 32, form, np.full(16, value, f">{kind}").tobytes()))
