"""What the images of a training set say of themselves: their files, their facts and their copies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dmin.audit.copies import thumbnail
from dmin.data.file_names import file_names, source_of
from dmin.data.fingerprints import groups_of_equal, pixel_digest
from dmin.data.image_facts import FileFacts, PixelFacts, file_facts, pixel_facts
from dmin.data.sample_rows import SampleRows
from dmin.data.samples import iter_samples

# Images decoded at once.
_DECODED = 64


@dataclass(frozen=True)
class ImageColumns:
    """Facts of some images ``[n]``, and what tells their copies.

    Attributes:
        facts: the columns of :class:`PixelFacts`.
        digests: of their pixels.
        thumbnails: uint8 ``[n, 32, 32, 3]``.
    """

    facts: pd.DataFrame
    digests: Sequence[str]
    thumbnails: np.ndarray


def read_images(table: Path) -> ImageColumns:
    """Return what the images of a table of samples say, reading some at a time.

    Raises:
        UserError: the table is torn, or an image unreadable.
    """
    facts: list[PixelFacts] = []
    digests: list[str] = []
    thumbnails: list[np.ndarray] = []
    for _, block in SampleRows(table, ["image"]).pixel_blocks(_DECODED):
        for pixels in block:
            facts.append(pixel_facts(pixels))
            digests.append(pixel_digest(pixels))
            thumbnails.append(thumbnail(pixels))
    return ImageColumns(pd.DataFrame(facts, columns=PixelFacts._fields), digests, np.stack(thumbnails))


def read_files(sources: Mapping[str, Path], ids: Sequence[str], size: int) -> pd.DataFrame:
    """Return the file of each sample, its size and whether it has transparency, from the headers of its source.

    Columns ``file, width, height, alpha, upscaling``, the last the factor by which the shorter side was enlarged, 1
    where it was not. ``file`` is as of :func:`file_names`. A noised copy has the facts of its original, and no file.

    Raises:
        UserError: a source is torn.
    """
    wanted = {name.removesuffix("+noise") for name in ids}
    files: dict[str, str | None] = {}
    found: dict[str, FileFacts] = {}
    for source in sorted(set(map(source_of, wanted))):
        # Of all rows, for an image that is held out may have the name of one that is not.
        for number, row in enumerate(iter_samples(sources[source], ("image",))):
            name = f"{source}/{number}"
            files[name] = row["image"]["path"]
            if name in wanted:
                found[name] = file_facts(row["image"]["bytes"])
    names, rows = file_names(files), []
    for name in ids:
        facts = found[name.removesuffix("+noise")]
        rows.append((names.get(name, name), *facts, max(1.0, size / min(facts.width, facts.height))))
    return pd.DataFrame(rows, columns=["file", *FileFacts._fields, "upscaling"])


def equal_to(digests: Sequence[str]) -> list[list[int]]:
    """Return, for each image, the places of the others with the same pixels."""
    others: list[list[int]] = [[] for _ in digests]
    for group in groups_of_equal(digests):
        for place in group:
            others[place] = [other for other in group if other != place]
    return others
