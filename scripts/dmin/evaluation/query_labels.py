"""The class of each generated image, told by a classifier."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from dmin.data.sample_rows import SampleRows
from dmin.data.samples import read_samples, write_samples
from dmin.evaluation.classifier import load_classifier
from dmin.runtime.atomic import write_csv
from dmin.runtime.errors import UserError

log = logging.getLogger(__name__)

# Candidates decoded at once.
DECODED = 64


@dataclass(frozen=True)
class Screening:
    """How generated images are told apart.

    Attributes:
        classifier: weights, their JSON file beside them.
        subsets: the classes that are asked about.
        confidence: the probability at which the classifier is sure.
    """

    classifier: Path
    subsets: Sequence[str]
    confidence: float


@dataclass(frozen=True)
class QueryFiles:
    """Where queries go: columns ``id, subset, prompt, seed, image``, class by class, and the :func:`tally`."""

    queries: Path
    labels: Path


@dataclass(frozen=True)
class Told:
    """The table of candidates with the class of each ``[images]``, and the probability given to it ``[images]``."""

    candidates: SampleRows
    found: np.ndarray
    sure: np.ndarray


def label_queries(candidates: Path, screening: Screening, per_subset: int, files: QueryFiles) -> None:
    """Write the first ``per_subset`` candidates of each class as queries, and how many were told and dropped.

    Raises:
        UserError: the classifier lacks a class, or a class has too few candidates.
    """
    told = classify_candidates(candidates, screening)
    chosen = choose_queries(told.found, told.sure, screening.subsets, per_subset, screening.confidence)
    write_queries(told, screening.confidence, chosen, files)


def classify_candidates(candidates: Path, screening: Screening) -> Told:
    """Read the candidates, some at a time, and tell the class of each.

    Raises:
        UserError: the classifier lacks a class.
    """
    known = load_classifier(screening.classifier)
    missing = [name for name in screening.subsets if name not in known.classes]
    if missing:
        raise UserError(
            f"The classifier '{screening.classifier}' does not tell the class '{missing[0]}' of the data set; it tells "
            f"{', '.join(known.classes)}: correct the data set's classes or queries.classifier.path."
        )
    rows = SampleRows(candidates, ["prompt", "seed", "image"])
    # As the network sees them they are small, and they pass through it in the same batches as all at once.
    levelled = torch.cat([known.level(pixels) for _, pixels in rows.pixel_blocks(DECODED)])
    return Told(rows, *known.classify_levelled(levelled))


def write_queries(told: Told, confidence: float, chosen: Mapping[str, Sequence[int]], files: QueryFiles) -> None:
    """Write the ``chosen`` places of each class of the candidates as queries, and the :func:`tally` of all."""
    counts = tally(told.found, told.sure, {name: len(places) for name, places in chosen.items()}, confidence)
    total = counts.iloc[-1]
    log.info(
        "%d of %d images dropped below confidence %s (%.1f %%), %d kept",
        total["dropped"],
        total["images"],
        confidence,
        100 * total["dropped"] / total["images"],
        total["kept"],
    )
    rows = [
        (f"query/{name}/{number:04d}", name, place)
        for name, places in chosen.items()
        for number, place in enumerate(places)
    ]
    taken = [told.candidates.ids[place] for _, _, place in rows]
    kept = read_samples(told.candidates.path, ["id", "prompt", "seed", "image"], taken).set_index("id").loc[taken]
    kept["id"], kept["subset"] = [name for name, _, _ in rows], [subset for _, subset, _ in rows]
    write_csv(counts, files.labels)
    write_samples(kept[["id", "subset", "prompt", "seed", "image"]], files.queries)


def choose_queries(
    found: np.ndarray, sure: np.ndarray, subsets: Sequence[str], per_subset: int, confidence: float
) -> dict[str, list[int]]:
    """Return the places of the first ``per_subset`` images of each class with at least ``confidence``.

    Args:
        found: class of each image ``[images]``.
        sure: probability given to it ``[images]``.

    Raises:
        UserError: a class has fewer.
    """
    chosen = {name: np.flatnonzero((found == name) & (sure >= confidence)) for name in subsets}
    short = min(subsets, key=lambda name: len(chosen[name]))
    passed = len(chosen[short])
    if passed < per_subset:
        advice = f"by {math.ceil(10 * per_subset / passed) / 10} times or more" if passed else "or train longer"
        raise UserError(
            f"Class '{short}' has {passed} of {len(found)} generated images at confidence {confidence} or above, and "
            f"queries.per_subset asks for {per_subset}; raise queries.classifier.oversample {advice}, or lower "
            "queries.per_subset."
        )
    return {name: places[:per_subset].tolist() for name, places in chosen.items()}


def tally(found: np.ndarray, sure: np.ndarray, kept: Mapping[str, int], confidence: float) -> pd.DataFrame:
    """Count the images told as each class, and over ``all`` images, those of classes not asked about included.

    Columns: ``subset``; ``images`` told so; ``dropped`` of them, below ``confidence``; ``dropped_share``; ``kept`` as
    queries; ``confidence``, the mean probability of the class.
    """
    rows = []
    for name in (*kept, "all"):
        mine = np.ones(len(found), bool) if name == "all" else found == name
        dropped = int((sure[mine] < confidence).sum())
        rows.append(
            {
                "subset": name,
                "images": int(mine.sum()),
                "dropped": dropped,
                "dropped_share": dropped / max(int(mine.sum()), 1),
                "kept": sum(kept.values()) if name == "all" else kept[name],
                "confidence": float(sure[mine].mean()) if mine.any() else 0.0,
            }
        )
    return pd.DataFrame(rows)
