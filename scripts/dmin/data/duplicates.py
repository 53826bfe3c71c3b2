"""Images of a data set that are there twice, or nearly so: each with the first one that it repeats."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from scipy.fft import dctn

from dmin.data.assembled_row import AssembledRow
from dmin.runtime.atomic import write_csv
from dmin.runtime.text import shown

log = logging.getLogger(__name__)

COLUMNS = ("sample", "file", "subset", "split", "kind", "of", "of_file", "of_split", "distance")

# Bits of 63 that may differ. Four bands of bits, of which at least one is then equal, find all such pairs.
NEAREST = 3
_BANDS = 4
# Of 255: how far the colours of 8 x 8 images may be apart, for hashes see no colours, nor what is small on white.
_COLOURS = 20
_GREY, _LOW, _SMALL = 32, 8, 8
_TOLD = 5


@dataclass
class Duplicates:
    """Finds images that repeat an earlier one, in memory of about 300 bytes each.

    An exact one has the same pixels at the size of the data set. A near one has a perceptual hash within ``NEAREST`` of
    63 bits (the signs of the lowest cosine coefficients of its grey values against their median) and like colours: it
    was resized, stored again or slightly retouched. Source: Zauner 2010, DCT hash.
    """

    _first: dict[bytes, int] = field(default_factory=dict)
    _exact: dict[int, int] = field(default_factory=dict)
    _places: list[int] = field(default_factory=list)
    _hashes: list[int] = field(default_factory=list)
    _small: list[np.ndarray] = field(default_factory=list)

    def add(self, place: int, digest: bytes, image: Image.Image) -> None:
        """Add the image at ``place``, with the digest of its pixels; places come in order."""
        first = self._first.setdefault(digest, place)
        if first != place:
            self._exact[place] = first
            return
        self._places.append(place)
        self._hashes.append(perceptual_hash(image))
        small = image.convert("RGB").resize((_SMALL, _SMALL), Image.Resampling.BOX)
        self._small.append(np.asarray(small, dtype=np.uint8))

    def found(self) -> Iterator[tuple[int, int, int | None]]:
        """Yield the place of every image that repeats one, that of the earlier one, and the bits between them.

        Those of exact ones are None. Of several, a near one repeats the nearest, then the first.
        """
        near = dict(self._near())
        for place in sorted({*self._exact, *near}):
            if place in self._exact:
                yield place, self._exact[place], None
            else:
                yield place, *near[place]

    def _near(self) -> Iterator[tuple[int, tuple[int, int]]]:
        buckets: dict[tuple[int, int], list[int]] = defaultdict(list)
        for index, hashed in enumerate(self._hashes):
            bands = [(band, (hashed >> (16 * band)) & 0xFFFF) for band in range(_BANDS)]
            seen = {other for band in bands for other in buckets[band]}
            alike = [
                (bits, other)
                for other in seen
                if (bits := (hashed ^ self._hashes[other]).bit_count()) <= NEAREST
                and _apart(self._small[index], self._small[other]) <= _COLOURS
            ]
            if alike:
                bits, other = min(alike)
                yield self._places[index], (self._places[other], bits)
                continue
            # What repeats an image stands for nothing new, which keeps buckets of many alike small.
            for band in bands:
                buckets[band].append(index)


def perceptual_hash(image: Image.Image) -> int:
    """Return 63 bits that resizing, recompression and light retouching hardly change."""
    grey = np.asarray(image.convert("L").resize((_GREY, _GREY), Image.Resampling.LANCZOS), dtype=np.float64)
    low = dctn(grey, norm="ortho")[:_LOW, :_LOW].ravel()[1:]
    # What is left of rounding has no sign.
    low = np.where(np.abs(low) < 1e-6, 0.0, low)
    return int("".join("01"[bit] for bit in (low > np.median(low)).astype(int)), 2)


def write_duplicates(
    duplicates: Duplicates, rows: Sequence[AssembledRow], split_of: Mapping[str, str], out: Path
) -> None:
    """Say how many images are there twice, and write the table of them.

    Args:
        rows: of the images, by place.
        split_of: the split of each row's id.
    """
    repeated = [
        {"sample": row.id, "file": row.origin, "subset": row.subset, "split": split_of[row.id]}
        | {"kind": "exact" if bits is None else "near", "of": first.id, "of_file": first.origin}
        | {"of_split": split_of[first.id], "distance": bits or 0}
        for row, first, bits in ((rows[place], rows[other], bits) for place, other, bits in duplicates.found())
    ]
    for kind in ("exact", "near"):
        found = [f"{shown(row['file'])} = {shown(row['of_file'])}" for row in repeated if row["kind"] == kind]
        if found:
            more = f" and {len(found) - _TOLD} more" if len(found) > _TOLD else ""
            log.warning("%d %s duplicates: %s%s", len(found), kind, ", ".join(found[:_TOLD]), more)
    write_csv(pd.DataFrame(repeated, columns=COLUMNS), out)


def _apart(left: np.ndarray, right: np.ndarray) -> int:
    return int(np.abs(left.astype(np.int16) - right).max())
