"""Score the training samples of a run by a method that is mixed of other methods, from files to files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dmin.attribution.outputs import Scored, ScoreFiles, check_top_k, write_scores
from dmin.attribution.registry import find_method
from dmin.attribution.sample_tables import SampleTables
from dmin.attribution.score_matrix import ScoreMatrix
from dmin.runtime.digests import sha256
from dmin.runtime.errors import UserError
from dmin.runtime.meter import Meter


def score_mixture(method: str, parts: Sequence[Path], tables: SampleTables, top_k: int, files: ScoreFiles) -> None:
    """Write the scores ``[queries, train]`` fp32 of ``method``, their ids, and the ranked lists of length ``top_k``.

    Args:
        parts: the scores of the methods that it is mixed of, in the order of its entry.

    Raises:
        UserError: the method is mixed of none, scores are torn or of other samples, a score is not finite, or
            ``top_k`` exceeds the training set.
    """
    chosen = find_method(method)
    if chosen.inputs != "scores":
        raise UserError(f"Method {method} is mixed of no others; score it from its own inputs.")
    with Meter() as meter:
        read = [ScoreMatrix.read(path) for path in parts]
        first = read[0]
        check_top_k(top_k, len(first.train))
        values = chosen.scores([_aligned(matrix, first, path) for matrix, path in zip(read, parts, strict=True)])
    names = chosen.entry.parts
    made_from = {name: sha256(path) for name, path in zip(names, parts, strict=True)}
    scored = Scored(method, values, first.queries, first.train, {"method": method, "parts": names}, {}, made_from)
    write_scores(scored, tables.subsets(), top_k, files, meter)


def _aligned(matrix: ScoreMatrix, first: ScoreMatrix, path: Path) -> np.ndarray:
    """Return the scores of a matrix in the order of another's ids."""
    if (matrix.queries, matrix.train) == (first.queries, first.train):
        return matrix.values
    order = []
    for own, wanted in ((matrix.queries, first.queries), (matrix.train, first.train)):
        places = {name: place for place, name in enumerate(own)}
        if places.keys() != set(wanted):
            raise UserError(
                f"Scores '{path}' are of other samples than the scores that they are mixed with; remake them."
            )
        order.append([places[name] for name in wanted])
    aligned: np.ndarray = matrix.values[np.ix_(*order)]
    return aligned
