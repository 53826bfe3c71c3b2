"""The generated images that have most of a measured property, as queries."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dmin.data.samples import read_samples, sample_pixels
from dmin.data.thickness import digit_thicknesses
from dmin.evaluation.query_labels import classify_candidates, write_queries
from dmin.runtime.errors import UserError


def select_queries(
    candidates: Path,
    classifier: Path,
    subsets: Sequence[str],
    keep: int,
    confidence: float,
    queries: Path,
    labels: Path,
) -> None:
    """Write the ``keep`` thickest candidates as queries, whatever their class, and how many were told and dropped.

    The files are those of :func:`label_queries`; within a class the thickest query stands first.

    Raises:
        UserError: the classifier lacks a class, or too few candidates pass it.
    """
    table = read_samples(candidates)
    found, sure = classify_candidates(table, classifier, subsets)
    thickness = digit_thicknesses(sample_pixels(table))
    passed = np.isin(found, list(subsets)) & (sure >= confidence) & np.isfinite(thickness)
    chosen = thickest_places(thickness, passed, keep)
    by_class = {name: [place for place in chosen if found[place] == name] for name in subsets}
    write_queries(table, found, sure, confidence, by_class, queries, labels)


def thickest_places(thickness: np.ndarray, passed: np.ndarray, keep: int) -> list[int]:
    """Return the places of the ``keep`` thickest images that ``passed``, thickest first; ties go to the earlier one.

    Raises:
        UserError: fewer passed.
    """
    if passed.sum() < keep:
        raise UserError(
            f"{passed.sum()} of {len(passed)} generated images pass the classifier, and queries.select.keep asks for "
            f"{keep}; raise queries.select.of, lower queries.classifier.confidence or train longer."
        )
    order = np.argsort(-np.where(passed, thickness, -np.inf), kind="stable")
    places: list[int] = order[:keep].tolist()
    return places
