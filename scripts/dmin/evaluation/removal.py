"""How much an image changes when what a method ranks first for it was never trained on."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
import pandas as pd

from dmin.data.samples import read_samples, sample_pixels
from dmin.evaluation.intervals import mean_interval
from dmin.evaluation.studied_removals import StudiedRemovals
from dmin.models.image_embedding import efficientnet_embeddings
from dmin.retraining.regenerated import read_regenerated
from dmin.retraining.removal_names import NONE, ORIGINAL, RANDOM, RETRAINED
from dmin.runtime.atomic import write_csv
from dmin.runtime.meter import hardware_label

log = logging.getLogger(__name__)

MEASURES = ["l2", "feature_distance"]
COLUMNS = ["method", "v", "k", "query_id", "set", "seed", "reference", *MEASURES]


def pixel_distance(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the L2 distance of uint8 images ``[n, H, W, channels]`` taken as values in [-1, 1], ``[n]``."""
    difference = (left.astype(np.float64) - right.astype(np.float64)) / 127.5
    distance: np.ndarray = np.sqrt(np.square(difference).sum(axis=(1, 2, 3)))
    return distance


def reference_rows(images: pd.DataFrame) -> pd.DataFrame:
    """Pair every image with what it is compared to: columns ``row, reference, other``.

    ``row`` and ``other`` are places in ``images``; ``other`` is -1 for the original. An image after a removal is paired
    with that of the model retrained on everything with the same training seed, and that one with those of the other
    seeds: the noise floor.

    Args:
        images: columns ``method, id, repeat``, numbered from 0.
    """
    whole: dict[str, dict[int, int]] = {}
    for row, query, repeat in images.loc[images["method"] == NONE, ["id", "repeat"]].itertuples(name=None):
        whole.setdefault(query, {})[repeat] = row
    pairs = []
    for row, method, query, repeat in images[["method", "id", "repeat"]].itertuples(name=None):
        pairs.append((row, ORIGINAL, -1))
        same = whole[query]
        others = [other for seed, other in same.items() if (seed != repeat) == (method == NONE)]
        pairs += [(row, RETRAINED, other) for other in others]
    return pd.DataFrame(pairs, columns=["row", "reference", "other"])


def removal_distances(images: pd.DataFrame, originals: pd.DataFrame, batch: int) -> pd.DataFrame:
    """Return the distances of every image to its references.

    Columns ``method, query_id, set, seed, reference``; ``l2`` of pixels in [-1, 1], over all elements; and
    ``feature_distance``, 1 minus the cosine of EfficientNet-Lite0 embeddings. References of one kind are averaged.

    Args:
        images: see :func:`read_regenerated`.
        originals: columns ``id, image``.
    """
    wanted = originals.set_index("id").loc[images["id"]].reset_index()
    pixels, first = sample_pixels(images), sample_pixels(wanted)
    embeddings = efficientnet_embeddings(np.concatenate([pixels, first]), batch)
    pairs = reference_rows(images)
    row = pairs["row"].to_numpy()
    # The original of image n stands n places after the images.
    other = np.where(pairs["other"] < 0, len(images) + row, pairs["other"])
    both = np.concatenate([pixels, first])
    pairs["l2"] = pixel_distance(both[row], both[other])
    pairs["feature_distance"] = 1 - (embeddings[row] * embeddings[other]).sum(axis=1, dtype=np.float64)
    mean = pairs.groupby(["row", "reference"], as_index=False)[MEASURES].mean()
    facts = images[["method", "id", "set", "repeat"]].rename(columns={"id": "query_id", "repeat": "seed"})
    return facts.loc[mean["row"]].reset_index(drop=True).join(mean[["reference", *MEASURES]])


def summarise(table: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Average the distances over seeds and then over queries, with Student's intervals over queries.

    ``difference`` is that to random removal, paired by query, over the queries that both have. A single query has no
    interval.

    Returns:
        Columns ``method, v, k, reference, measure, mean, low, high, median, difference, difference_low,
        difference_high, queries, seeds``.
    """
    rows = []
    for (method, reference), part in table.groupby(["method", "reference"], sort=False):
        control = table[(table["method"] == RANDOM) & (table["reference"] == reference)]
        for measure in MEASURES:
            values = part.groupby("query_id")[measure].mean()
            shift = (values - control.groupby("query_id")[measure].mean()).dropna()
            low, high = mean_interval(values.to_numpy(), confidence)
            difference_low, difference_high = mean_interval(shift.to_numpy(), confidence)
            rows.append(
                {
                    "method": method,
                    "v": part["v"].iloc[0],
                    "k": part["k"].iloc[0],
                    "reference": reference,
                    "measure": measure,
                    "mean": values.mean(),
                    "low": low,
                    "high": high,
                    "median": values.median(),
                    "difference": shift.mean(),
                    "difference_low": difference_low,
                    "difference_high": difference_high,
                    "queries": len(values),
                    "seeds": part["seed"].nunique(),
                }
            )
    return pd.DataFrame(rows)


class RemovalSettings(TypedDict):
    """The samples removed for a query, what retrainings have as many of (epochs or steps), and the intervals' share."""

    k: int
    budget: str
    confidence: float


@dataclass(frozen=True)
class RemovalFiles:
    """Where the distances go: the ``table`` of every image, and the ``summary`` of each method."""

    table: Path
    summary: Path


def evaluate_removal(
    removals: StudiedRemovals, queries: Path, settings: RemovalSettings, files: RemovalFiles, batch: int
) -> None:
    """Write the distances of every regenerated image, and their :func:`summarise`.

    Source: the counterfactual evaluation of D-TRAK; the noise floor and the intervals are ours.

    Args:
        removals: ``none`` and ``random`` are among them.
        queries: the images that were asked about.
        batch: images that are embedded together.
    """
    images = read_regenerated(removals.images)
    rows = removal_distances(images, read_samples(queries, ["id", "image"]), batch)
    removed = np.where(rows["method"] == NONE, 0, settings["k"])
    rows = rows.assign(v=removals.widths_of(rows["method"]), k=removed)
    found = summarise(rows, settings["confidence"])
    write_csv(rows[COLUMNS], files.table)
    write_csv(found.assign(budget=settings["budget"], hardware=hardware_label()), files.summary)
    for row in found[found["measure"] == "l2"].to_dict("records"):
        log.info(
            "%(method)s, against %(reference)s: L2 %(mean).3f, %(difference)+.3f beside random removal "
            "(%(difference_low)+.3f to %(difference_high)+.3f)",
            row,
        )
