"""The generated images that have most of a measured property, as queries."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dmin.data.thickness import digit_thicknesses
from dmin.evaluation.query_labels import DECODED, QueryFiles, Screening, classify_candidates, write_queries
from dmin.runtime.errors import UserError


def select_queries(candidates: Path, screening: Screening, keep: int, files: QueryFiles) -> None:
    """Write the ``keep`` thickest candidates as queries, whatever their class, and how many were told and dropped.

    Within a class the thickest query stands first.

    Raises:
        UserError: the classifier lacks a class, or too few candidates pass it.
    """
    told = classify_candidates(candidates, screening)
    thickness = np.concatenate([digit_thicknesses(pixels) for _, pixels in told.candidates.pixel_blocks(DECODED)])
    passed = np.isin(told.found, list(screening.subsets)) & (told.sure >= screening.confidence)
    chosen = thickest_places(thickness, passed & np.isfinite(thickness), keep)
    by_class = {name: [place for place in chosen if told.found[place] == name] for name in screening.subsets}
    write_queries(told, screening.confidence, by_class, files)


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
