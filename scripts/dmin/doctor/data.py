"""Files, rows, captions, sizes and duplicates of a source."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from dmin.data.buckets import Frame
from dmin.data.folder import numbered_classes
from dmin.data.images import decode_image, open_image
from dmin.data.samples import iter_samples
from dmin.data.source import fetch_source
from dmin.doctor.findings import Finding
from dmin.folders.count import try_count
from dmin.folders.files import is_local
from dmin.folders.layout import find_layout
from dmin.runtime.errors import UserError
from dmin.runtime.text import shown
from dmin.settings.models import Source

# Rows that are read, so that the answer comes within a minute.
MOST_ROWS = 2000
_NAMED = 3
# The side of the small picture whose rows are compared, and the contrast below which it shows nothing to compare.
_SIDE, _FLAT = 8, 12


@dataclass
class Read:
    """What was read of the sources of a data set.

    Attributes:
        captions: of each image.
        images: the first images, encoded.
    """

    captions: list[str] = field(default_factory=list)
    images: list[bytes] = field(default_factory=list)


def examine_source(key: str, source: Mapping[str, Any], frame: Frame, read: Read) -> Iterator[Finding]:
    """Yield what a source holds; ``read`` takes its captions and its first two images.

    Args:
        key: how the config names it.
        source: its settings, with all defaults.
        frame: the sizes that images are brought to.

    Raises:
        UserError: it would be refused when it is fetched.
    """
    if not is_local(source["path"]):
        yield Finding(key, "images", f"'{source['path']}' is on the hub, and nothing is downloaded here", "note")
        return
    there = None if source["labels"] else try_count(source["path"], source["split"])
    asked = source["rows"] or there
    if asked is None:
        yield Finding(key, "images", "not read, since how many are taken is not known", "note")
        return
    # Of too many the config's check tells.
    config = cast(Source, {**source, "rows": min(asked, there or asked, MOST_ROWS)})
    files: list[str] = []
    captions: list[str] = []
    sizes: list[tuple[int, int]] = []
    exact: dict[str, list[str]] = defaultdict(list)
    alike: dict[bytes, list[str]] = defaultdict(list)
    with TemporaryDirectory() as folder:
        out = Path(folder) / "source.parquet"
        fetch_source(source["name"], config, out)
        skipped = json.loads(pq.read_metadata(out).metadata[b"dmin"])["skipped"]
        for row in iter_samples(out, ["image", "prompt", "origin"]):
            data, name = row["image"]["bytes"], row["image"].get("path") or row["origin"]
            picture = open_image(data, name)
            sizes.append(picture.size)
            digest = hashlib.sha256(data).hexdigest()
            if digest not in exact and (outline := _outline(data, name)) is not None:
                alike[outline].append(name)
            exact[digest].append(name)
            files.append(name)
            captions.append(row["prompt"])
            if len(read.images) < 2:
                read.images.append(data)
    read.captions += captions
    if there is not None and skipped and asked > there - skipped:
        raise UserError(
            f"{key}: {asked} rows asked for, at most {there - skipped} found ({skipped} unreadable ones left out) in "
            f"'{shown(source['path'])}'; set rows to {there - skipped} or less, or mend these images."
        )
    yield Finding(key, "images", f"{len(sizes):,} read of {asked:,}, {files[0]} to {files[-1]}")
    if source["repeats"] is None and (layout := find_layout(Path(source["path"]), source["split"])).numbered:
        yield Finding(key, "folders", numbered_classes(layout), "note")
    yield from _captions(key, captions)
    yield from _sizes(key, sizes, frame)
    yield from _repeated(key, "exact duplicates", exact.values())
    yield from _repeated(key, "look alike", alike.values())


def first_pixels(read: Read, size: int, profiles: bool) -> np.ndarray:
    """Return the first two images at the size of the data set, uint8 ``[2, size, size, 3]``; noise where too few were
    read, which checks of a model need as little as any picture."""
    pictures = [np.asarray(decode_image(data, "", size, profiles=profiles).convert("RGB")) for data in read.images]
    noise = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), dtype=np.uint8)
    return np.stack([*pictures, *noise][:2])


def _captions(key: str, captions: Sequence[str]) -> Iterator[Finding]:
    empty, distinct = sum(not caption for caption in captions), len(set(captions))
    longest = max(len(caption.split()) for caption in captions)
    if empty == len(captions):
        yield Finding(key, "captions", "none; the text encoder is given the empty prompt", "note")
        return
    said = f"{distinct:,} distinct, {empty:,} empty, the longest of {longest} words"
    yield Finding(key, "captions", said, "note" if empty or distinct == 1 else "ok")


def _sizes(key: str, sizes: Sequence[tuple[int, int]], frame: Frame) -> Iterator[Finding]:
    small, large = min(sizes, key=min), max(sizes, key=min)
    wanted = [frame.of(*pair) for pair in sizes]
    enlarged = sum(width < wide or height < high for (width, height), (wide, high) in zip(sizes, wanted, strict=True))
    cut = sum(width != height for width, height in sizes)
    said = f"{small[0]} x {small[1]} to {large[0]} x {large[1]}"
    notes = [f"{enlarged:,} smaller than {frame.size} px and enlarged"] * bool(enlarged)
    if cut and frame.step:
        notes.append(f"{cut:,} not square, buckets: {len(set(wanted))}")
    elif cut:
        notes.append(f"{cut:,} not square, of which the middle is kept (bucket_step keeps shapes)")
    yield Finding(key, "sizes", ", ".join([said, *notes]), "note" if enlarged else "ok")


def _repeated(key: str, check: str, groups: Any) -> Iterator[Finding]:
    repeated = [names for names in groups if len(names) > 1]
    if not repeated:
        yield Finding(key, check, "none")
        return
    shown = "; ".join(" = ".join(names[:_NAMED]) for names in repeated[:_NAMED])
    more = f" and {len(repeated) - _NAMED:,} more groups" if len(repeated) > _NAMED else ""
    yield Finding(key, check, f"{sum(map(len, repeated)):,} images: {shown}{more}", "note")


def _outline(data: bytes, name: str) -> bytes | None:
    """Return where a small grey picture of an image grows lighter from left to right; None where it shows nothing."""
    grey = open_image(data, name).convert("L").resize((_SIDE + 1, _SIDE), Image.Resampling.BILINEAR)
    pixels = np.asarray(grey, dtype=np.int16)
    if int(pixels.max()) - int(pixels.min()) < _FLAT:
        return None
    return np.packbits(np.diff(pixels, axis=1) > 0).tobytes()
