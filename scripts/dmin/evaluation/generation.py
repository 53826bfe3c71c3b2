"""Do generated images look like the subset that their prompt names?"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd

from dmin.data.samples import read_samples, sample_pixels
from dmin.models.image_embedding import efficientnet_embeddings
from dmin.runtime.atomic import write_csv

log = logging.getLogger(__name__)

NEIGHBOURS = 5


def nearest_subset(embeddings: np.ndarray, known: np.ndarray, subsets: np.ndarray) -> np.ndarray:
    """Return the majority subset among each row's nearest known rows by cosine; a tie goes to the nearest tied one.

    Args:
        embeddings: unit rows ``[n, d]``.
        known: unit rows ``[m, d]``.
        subsets: their subsets ``[m]``.
    """
    order = np.argsort(-(embeddings @ known.T), axis=1, kind="stable")[:, :NEIGHBOURS]
    chosen = []
    for row in subsets[order]:
        counts = pd.Series(row).value_counts()
        tied = set(counts.index[counts == counts.max()])
        chosen.append(next(name for name in row if name in tied))
    return np.asarray(chosen)


def evaluate_generation(samples: Path, queries: Path, out: Path, batch: int) -> None:
    """Write, per subset and over all, how many generated images fall in their prompt's subset.

    The vote is of the 5 nearest training images (noised copies left out) on EfficientNet-Lite0 embeddings; columns
    ``subset,images,in_subset,rate``.
    """
    train = read_samples(samples)
    train = train[train["subset"] != "noise"]
    asked = read_samples(queries)
    pixels = np.concatenate([sample_pixels(train), sample_pixels(asked)])
    embeddings = efficientnet_embeddings(pixels, batch)
    voted = nearest_subset(embeddings[len(train) :], embeddings[: len(train)], train["subset"].to_numpy())
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
