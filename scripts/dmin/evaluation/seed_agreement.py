"""Do models that differ in their training seed alone name the same training samples?"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dmin.attribution.score_matrix import ScoreMatrix
from dmin.evaluation.agreement import mean_correlation, rank_correlations, require_same_ids, top_overlaps
from dmin.runtime.atomic import write_csv

log = logging.getLogger(__name__)

COLUMNS = ["method", "v", "other", "spearman", "low", "high", "k", "overlap", "queries"]


def evaluate_seed_agreement(
    scores: Mapping[tuple[str, str], Mapping[str, Path]], ks: Sequence[int], confidence: float, out: Path
) -> None:
    """Write, per method and other run, how far its scores agree with the first run's.

    Spearman's correlation over all training samples and the share of common samples in the top k, both averaged over
    the queries on which both order something; the correlation has Student's interval. A score that is not the same for
    another seed cannot say what the data did.

    Args:
        scores: by method and width, the score file of every run; the first is what the others are compared with.

    Raises:
        UserError: a file is torn, or two are of other queries or training samples.
    """
    rows = []
    for (method, v), files in scores.items():
        (first, *others), matrices = files, {path: ScoreMatrix.read(path) for path in files.values()}
        require_same_ids(matrices)
        mine = matrices[files[first]].values
        for other in others:
            pairs = [np.stack(pair) for pair in zip(mine, matrices[files[other]].values, strict=True)]
            found = np.array([rank_correlations(pair)[0, 1] for pair in pairs])
            facts = {"method": method, "v": v, "other": other, **mean_correlation(found, confidence)}
            for k in ks:
                # The top of what orders nothing is that of the file.
                ordered = [pair for pair, value in zip(pairs, found, strict=True) if np.isfinite(value)]
                overlap = float(np.mean([top_overlaps(pair, k)[0, 1] for pair in ordered])) if ordered else np.nan
                rows.append({**facts, "k": k, "overlap": overlap})
            log.info("%s v=%s: correlation with %s %.3f", method, v, other, facts["spearman"])
    write_csv(pd.DataFrame(rows, columns=COLUMNS), out)
