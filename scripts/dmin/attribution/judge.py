"""What is said of a method's scores beside their values: p-values, and errors with intervals."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from dmin.attribution.gradient_rows import GradientRows
from dmin.attribution.joined_rows import JoinedRows
from dmin.attribution.ranking import top_places
from dmin.attribution.registry import Method
from dmin.attribution.sample_tables import SampleTables
from dmin.attribution.score_errors import ScoreErrors, score_errors
from dmin.attribution.significance import Judged, ListSettings, Ranks, rank_among, same_kind
from dmin.runtime.errors import UserError
from dmin.settings.runs import Options

log = logging.getLogger(__name__)


class Judge:
    """Judges the scores of a run's queries.

    Args:
        queries, train: the gradients that the scores were made from.
        held_out: those of images that were not trained on; None where the run has none.
        tables: the tables of all three.
    """

    def __init__(
        self, queries: GradientRows, train: GradientRows, held_out: GradientRows | None, tables: SampleTables
    ) -> None:
        self._queries, self._train, self._held_out, self._tables = queries, train, held_out, tables
        self._subsets = tables.subsets()

    def judge(self, method: Method, scores: np.ndarray, options: Options, lists: ListSettings) -> Judged:
        """Judge the scores ``[queries, train]`` of a method; what cannot be known of them is NaN.

        Raises:
            UserError: the held-out gradients were cached under other settings, or a score of theirs is not finite.
        """
        places = top_places(scores, lists["top_k"])
        top = np.take_along_axis(scores, places, axis=1).astype(np.float64)
        low = high = np.full(top.shape, np.nan)
        facts: dict[str, Any] = {}
        if method.entry.terms:
            errors = score_errors(self._queries, self._train, places, method.entry.terms)
            low, high = errors.interval(top, lists["confidence"])
            facts |= _relative_errors(errors, scores)
        if self._held_out is None:
            return Judged(np.full(top.shape, np.nan), None, low, high, facts)
        ranks = self._rank(method, scores, self._held_out, options, lists)
        p_value, found = (np.take_along_axis(values, places, axis=1) for values in (ranks.p_value, ranks.found))
        facts |= {
            "held_out": ranks.held_out.tolist(),
            "tested": ranks.tested.tolist(),
            "significant": ranks.found.sum(1).tolist(),
            "auc": _numbers(ranks.auc),
        }
        log.info("%d of %d queries have an influence that is significant", ranks.found.any(1).sum(), len(scores))
        return Judged(p_value, found, low, high, facts)

    def _rank(
        self, method: Method, scores: np.ndarray, held_out: GradientRows, options: Options, lists: ListSettings
    ) -> Ranks:
        """Rank the scores of the training samples among those of the held-out ones.

        Where a sample's score hangs on the others that were trained on, all are scored once more with the held-out ones
        among them, so that nothing but training can set the two apart.
        """
        if method.entry.terms:
            theirs, _ = method.run(self._queries, held_out, options, self._subsets)
        else:
            both, _ = method.run(self._queries, JoinedRows(self._train, held_out), options, self._subsets)
            scores, theirs = both[:, : scores.shape[1]], both[:, scores.shape[1] :]
        if not np.isfinite(theirs).all():
            raise UserError(
                f"Method {method.name} gave held-out images scores that are not finite; check the gradient cache's log."
            )
        asked, train, others = (
            [self._subsets[name] for name in rows.ids] for rows in (self._queries, self._train, held_out)
        )
        compared = same_kind(asked, others, lists["subsets_known"])
        if lists["own_images"]:
            compared &= self._tables.differ(self._queries.ids, held_out.ids)
        return rank_among(scores, theirs, compared, same_kind(asked, train, lists["subsets_known"]), lists["fdr"])


def _relative_errors(errors: ScoreErrors, scores: np.ndarray) -> dict[str, list[float | None]]:
    """Return, by query, the root mean square of the errors of its list over the spread of its scores."""
    spread = scores.std(1, dtype=np.float64)
    spread = np.where(spread > 0, spread, np.nan)
    parts: Mapping[str, np.ndarray] = {"sketch_error": errors.sketch, "probe_error": errors.probe}
    return {name: _numbers(np.sqrt(values.mean(1)) / spread) for name, values in parts.items()}


def _numbers(values: np.ndarray) -> list[float | None]:
    """Return numbers as JSON has them, which has no NaN."""
    return [float(value) if np.isfinite(value) else None for value in values]
