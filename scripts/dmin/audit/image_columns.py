"""What the images of a training set say of themselves: their files, their facts and their copies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dmin.audit.neighbourhood import Neighbourhood
from dmin.data.fingerprints import groups_of_equal, hash_distances, perceptual_hash, pixel_digest
from dmin.data.image_facts import FileFacts, PixelFacts, file_facts, pixel_facts
from dmin.data.sample_rows import SampleRows
from dmin.data.samples import iter_samples

# Copies have hashes that differ in at most so many of 63 places, and features whose cosine is at least so large.
COPIES = ((2, 0.85), (14, 0.93))
# Images decoded at once.
_DECODED = 64


@dataclass(frozen=True)
class ImageColumns:
    """Facts of some images ``[n]``, and what tells their copies.

    Attributes:
        facts: the columns of :class:`PixelFacts`.
        digests: of their pixels.
        hashes: perceptual, ``[n, 63]``, as they are and mirrored.
    """

    facts: pd.DataFrame
    digests: Sequence[str]
    hashes: tuple[np.ndarray, np.ndarray]


def read_images(table: Path) -> ImageColumns:
    """Return what the images of a table of samples say, reading some at a time.

    Raises:
        UserError: the table is torn, or an image unreadable.
    """
    facts: list[PixelFacts] = []
    digests: list[str] = []
    plain, mirrored = [], []
    for _, block in SampleRows(table, ["image"]).pixel_blocks(_DECODED):
        for pixels in block:
            facts.append(pixel_facts(pixels))
            digests.append(pixel_digest(pixels))
            plain.append(perceptual_hash(pixels))
            mirrored.append(perceptual_hash(np.ascontiguousarray(pixels[:, ::-1])))
    return ImageColumns(pd.DataFrame(facts, columns=PixelFacts._fields), digests, (np.array(plain), np.array(mirrored)))


def read_files(sources: Mapping[str, Path], ids: Sequence[str], size: int) -> pd.DataFrame:
    """Return the file of each sample, its size and whether it has transparency, from the headers of its source.

    Columns ``file, width, height, alpha, upscaling``, the last the factor by which the shorter side was enlarged, 1
    where it was not. ``file`` is the name in the source, the sample's id where it has none. A noised copy has those
    of its original.

    Raises:
        UserError: a source is torn.
    """
    wanted = {name.removesuffix("+noise") for name in ids}
    found: dict[str, tuple[str, FileFacts]] = {}
    for source, path in sources.items():
        for number, row in enumerate(iter_samples(path, ("image",))):
            name = f"{source}/{number}"
            if name in wanted:
                found[name] = (row["image"]["path"] or name, file_facts(row["image"]["bytes"]))
    rows = []
    for name in ids:
        file, facts = found[name.removesuffix("+noise")]
        rows.append((file, *facts, max(1.0, size / min(facts.width, facts.height))))
    return pd.DataFrame(rows, columns=["file", *FileFacts._fields, "upscaling"])


def equal_to(digests: Sequence[str]) -> list[list[int]]:
    """Return, for each image, the places of the others with the same pixels."""
    others: list[list[int]] = [[] for _ in digests]
    for group in groups_of_equal(digests):
        for place in group:
            others[place] = [other for other in group if other != place]
    return others


def near_copies(images: ImageColumns, near: Neighbourhood) -> list[list[int]]:
    """Return, for each image, the places of the neighbours by features that are changed copies of it, or it of them.

    Their hashes, as they are or mirrored, are nearly the same and their features are alike, or the other way round: see
    :data:`COPIES`. Images with the same pixels, and those without content, are left out.
    """
    plain, mirrored = images.hashes
    copies: list[set[int]] = [set() for _ in images.digests]
    for place, (others, similarities) in enumerate(zip(near.places, near.similarities, strict=True)):
        mine = plain[place]
        differing = np.minimum(hash_distances(mine, plain[others]), hash_distances(mine, mirrored[others]))
        alike = np.any([(differing <= most) & (similarities >= least) for most, least in COPIES], axis=0)
        for other in others[alike & mine.any() & plain[others].any(axis=1)].tolist():
            if images.digests[other] != images.digests[place]:
                copies[place].add(other)
                copies[other].add(place)
    return [sorted(found) for found in copies]
