"""Checks of the regions of queries and of the influence maps: one clear sentence for the first mistake."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from ..catalogue.methods import LINEAR_METHODS
from ..runtime.errors import UserError
from ..settings.runs import Region
from .checks import CORRECT_PATH
from .files import is_file
from .runs import Run

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Values of a pixel by the colour type of a PNG: grey and colour, neither with a palette nor transparent.
_VALUES = {0: 1, 2: 3}
_LARGEST_FILE = 2**28


def check_regions(run: Run) -> None:
    """Refuse regions that are no part of an image, or of no query.

    Raises:
        UserError: a box is empty, a mask is unreadable, empty or of another size, or a query or a name is wrong.
    """
    if run.queries.regions:
        _require_squares(f"runs.{run.name}.queries.regions", run)
    known, seen = run.queries.ids, set[tuple[str, str]]()
    for number, region in enumerate(run.queries.regions):
        key = f"runs.{run.name}.queries.regions.{number}"
        pair = (region["query"], region["name"])
        if pair in seen:
            raise UserError(f"{key} has the name '{pair[1]}', as another region of '{pair[0]}'; rename it.")
        seen.add(pair)
        if known is not None and region["query"] not in known:
            raise UserError(f"{key}.query is '{region['query']}', which the run does not ask about; {_say(known)}.")
        _check_shape(key, region, run.model.dataset.settings["size"])
    if run.queries.regions and not run.regions.methods:
        raise UserError(
            f"runs.{run.name}.queries.regions asks about parts of images, which methods on gradients rank that learn "
            "from no subset, and influence.methods has none; add dmin, or leave regions out."
        )


def check_maps(run: Run) -> None:
    """Refuse maps of a method or of queries that the run does not have.

    Raises:
        UserError: they are such.
    """
    if "maps" not in run.settings:
        return
    key, maps = f"runs.{run.name}.maps", run.maps
    _require_squares(key, run)
    methods = run.influence.methods
    if maps.method not in methods:
        split = [method for method in methods if method in LINEAR_METHODS]
        told = "which influence.methods lacks" if maps.settings["method"] != "auto" else "and no method's scores split"
        fix = f"set it to one of {', '.join(split)}" if split else "add dmin to influence.methods"
        raise UserError(f"{key}.method is {maps.settings['method']}, {told}; {fix}, or leave maps out.")
    if maps.settings["top_k"] > run.influence.settings["top_k"]:
        raise UserError(
            f"{key}.top_k is {maps.settings['top_k']}, above influence.top_k {run.influence.settings['top_k']}; "
            "lower it."
        )
    known, asked = run.queries.ids, maps.settings["queries"]
    if known is None or not isinstance(asked, list):
        return
    for query in asked:
        if query not in known:
            raise UserError(f"{key}.queries has '{query}', which the run does not ask about; {_say(known)}.")


def _require_squares(key: str, run: Run) -> None:
    dataset = run.model.dataset
    if dataset.bucket_step:
        raise UserError(
            f"{key} takes latents of one shape, but datasets.{dataset.name}.bucket_step is set; leave one of them out."
        )


def _say(known: list[str]) -> str:
    return f"its {len(known)} queries are '{known[0]}' to '{known[-1]}'"


def _check_shape(key: str, region: Region, size: int) -> None:
    box, mask = region["box"], region["mask"]
    if (box is None) == (mask is None):
        raise UserError(f"{key} has {'neither a box nor' if box is None else 'both a box and'} a mask; give one.")
    if box is not None and not (box[0] < box[2] and box[1] < box[3]):
        raise UserError(
            f"{key}.box is {box}, which is empty; its numbers are left, top, right and bottom, left below right and "
            "top below bottom."
        )
    if mask is not None:
        _check_mask(f"{key}.mask", mask, size)


def _check_mask(key: str, mask: str, size: int) -> None:
    """Refuse a mask whose header or pixels show that it is none."""
    if not is_file(mask):
        raise UserError(f"{key} is '{mask}', which is no file; {CORRECT_PATH}.")
    if Path(mask).stat().st_size > _LARGEST_FILE:
        raise UserError(f"{key}: '{mask}' is larger than {_LARGEST_FILE // 2**20} MiB; save it anew.")
    try:
        data = Path(mask).read_bytes()
    except OSError as error:
        raise UserError(f"{key}: '{mask}' cannot be read ({error.strerror}); make it readable.") from None
    try:
        width, height, depth, colour, interlaced, pixels = _read_png(data)
    except (ValueError, struct.error, zlib.error) as error:
        raise UserError(f"{key}: '{mask}' is no whole PNG ({error}); save the mask as one.") from None
    if (width, height) != (size, size):
        raise UserError(
            f"{key}: '{mask}' is {width} x {height} pixels, but queries are {size} x {size}; scale it to that."
        )
    if colour not in _VALUES or depth > 8 or interlaced:
        raise UserError(
            f"{key}: '{mask}' has a palette, transparency, interlacing or 16 bits; save it as a greyscale PNG of 8 "
            "bits."
        )
    row = 1 + -(-width * _VALUES[colour] * depth // 8)
    lines = zlib.decompressobj().decompress(pixels, row * height)
    if len(lines) < row * height:
        raise UserError(f"{key}: '{mask}' is cut off; save it anew.")
    # A filter of zeros is zeros, so what is not decoded tells whether all is black.
    if not any(any(lines[start + 1 : start + row]) for start in range(0, len(lines), row)):
        raise UserError(f"{key}: '{mask}' is empty (all black); paint the region white.")


def _read_png(data: bytes) -> tuple[int, int, int, int, int, bytes]:
    """Return width, height, bit depth, colour type, interlacing, and the compressed pixels of a PNG."""
    if not data.startswith(_SIGNATURE):
        raise ValueError("it begins as another file")
    chunks = list(_chunks(data))
    if not chunks or chunks[0][0] != b"IHDR":
        raise ValueError("it has no header")
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[0][1])
    return width, height, depth, colour, interlaced, b"".join(body for name, body in chunks if name == b"IDAT")


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = len(_SIGNATURE)
    while place + 8 <= len(data):
        length, name = struct.unpack(">I4s", data[place : place + 8])
        body = data[place + 8 : place + 8 + length]
        if len(body) < length:
            raise ValueError("it is cut off")
        yield name, body
        place += 12 + length
