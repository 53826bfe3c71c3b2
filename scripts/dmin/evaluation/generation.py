"""Do generated images look like the subset that their prompt names?"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dmin.data.sample_rows import SampleRows
from dmin.data.samples import iter_blocks, pixel_runs, read_samples
from dmin.data.subsets import NOISE_SUBSET
from dmin.models.image_embedding import DECODED, efficientnet_embeddings
from dmin.runtime.atomic import write_csv

log = logging.getLogger(__name__)

NEIGHBOURS = 5


class Nearest:
    """The subsets of the known images nearest to each of some embeddings by cosine, as known ones are added.

    Args:
        embeddings: unit rows ``[n, d]``.
    """

    def __init__(self, embeddings: np.ndarray) -> None:
        self._embeddings = embeddings
        self._similarities = np.empty((len(embeddings), 0), dtype=embeddings.dtype)
        self._subsets = np.empty((len(embeddings), 0), dtype=object)

    def add(self, known: np.ndarray, subsets: Sequence[str]) -> None:
        """Add known unit rows ``[m, d]`` and their subsets; of equally near ones the first added counts as nearer."""
        beside = np.broadcast_to(np.asarray(subsets, dtype=object), (len(self._embeddings), len(known)))
        similarities = np.concatenate([self._similarities, self._embeddings @ known.T], axis=1)
        order = np.argsort(-similarities, axis=1, kind="stable")[:, :NEIGHBOURS]
        self._similarities = np.take_along_axis(similarities, order, axis=1)
        self._subsets = np.take_along_axis(np.concatenate([self._subsets, beside], axis=1), order, axis=1)

    def votes(self) -> list[str]:
        """Return the majority subset among the nearest 5 of each row; a tie goes to the nearest tied one."""
        chosen = []
        for row in self._subsets:
            counts = Counter(row)
            chosen.append(next(name for name in row if counts[name] == max(counts.values())))
        return chosen


def evaluate_generation(samples: Path, queries: Path, out: Path, batch: int) -> None:
    """Write, per subset and over all, how many generated images fall in their prompt's subset.

    The vote is of the 5 nearest training images (noised copies left out) on EfficientNet-Lite0 embeddings; columns
    ``subset,images,in_subset,rate``.
    """
    asked = read_samples(queries, ["id", "subset"])
    embedded = [
        efficientnet_embeddings(pixels, batch) for _, pixels in SampleRows(queries, ["image"]).pixel_blocks(DECODED)
    ]
    nearest = Nearest(np.concatenate(embedded))
    for block in iter_blocks(samples, DECODED, ["id", "subset", "image"]):
        known = block[block["subset"] != NOISE_SUBSET]
        for run, pixels in pixel_runs(known) if len(known) else ():
            nearest.add(efficientnet_embeddings(pixels, batch), known["subset"].iloc[run].tolist())
    voted = np.asarray(nearest.votes())
    right = pd.Series(voted == asked["subset"].to_numpy())
    rows = [
        {"subset": subset, "images": len(group), "in_subset": int(group.sum())}
        for subset, group in right.groupby(asked["subset"].to_numpy(), sort=True)
    ]
    rows.append({"subset": "all", "images": len(right), "in_subset": int(right.sum())})
    table = pd.DataFrame(rows)
    table["rate"] = table["in_subset"] / table["images"]
    write_csv(table, out)
    log.info("%d of %d generated images fall in their prompt's subset", right.sum(), len(right))
