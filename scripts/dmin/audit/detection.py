"""How well planted faults are found, by what an audit measures and by plain baselines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtri

from dmin.audit.findings import MISLABELLED, WRONG_CAPTION, added_up
from dmin.audit.report import read_samples_table
from dmin.evaluation.intervals import rate_interval
from dmin.evaluation.ranks import average_ranks
from dmin.runtime.atomic import write_csv
from dmin.runtime.readers import read_csv
from dmin.runtime.seeds import derive_seed

COLUMNS = ["detector", "fault", "auc", "average_precision", "precision_at_planted", "low", "high"]
FOUND_COLUMNS = ["detector", "fault", "first", "found", "planted", "share", "low", "high"]
# Shares of the ranked list in which planted ones are counted.
FIRST = (0.05, 0.1, 0.2)
BASELINES = ("loss", "gradient_norm", "feature_distance", "random")
# Columns by which images are ranked, the most suspicious last; with a minus, first.
_RANKED = (
    "self_influence", "self_influence_scaled", "leverage", "influence_margin", "feature_margin", "influence_distance",
    "caption_gap", "caption_image_margin", "caption_text_margin", "-held_out_influence", "hubs", "-contrast",
    "copy_similarity", "-caption_similarity",
)  # fmt: skip


@dataclass(frozen=True)
class Planted:
    """The rows of a table of samples that a fault is told among, and which of them have it, boolean."""

    places: np.ndarray
    has: np.ndarray


def detectors(samples: pd.DataFrame, held_out: pd.DataFrame, seed: int) -> dict[str, np.ndarray]:
    """Return the values ``[N]`` of every detector that a table of samples has, larger for more suspicious."""
    found = {name: samples[name].to_numpy(dtype=float) for name in BASELINES if name in samples}
    found["random"] = np.random.default_rng(derive_seed(seed, "audit", "random")).random(len(samples))
    for name in _RANKED:
        column = name.removeprefix("-")
        if column in samples and samples[column].notna().any():
            found[column] = samples[column].to_numpy(dtype=float) * (-1 if name.startswith("-") else 1)
    for issue, names in (("mislabelled", MISLABELLED), ("wrong caption", WRONG_CAPTION)):
        if len(held_out) and names[0] in samples and samples[names[0]].notna().any():
            found[issue] = added_up(samples, held_out, names)
    for name in ("copies", "near_copies"):
        found[name] = np.array([len(text.split()) for text in samples[name]], dtype=float)
    return {name: np.where(np.isfinite(values), values, np.nanmin(values)) for name, values in found.items()}


def planted_rows(samples: pd.DataFrame, planted: pd.DataFrame) -> dict[str, Planted]:
    """Return, by fault, the rows that it is told among: those that have it, and those that have none.

    Where the fault is a duplicate, the images that were copied are left out: they are duplicates as well.
    """
    fault = samples["sample"].map(planted.set_index("sample")["fault"])
    found = {}
    for name in planted["fault"].unique():
        copied = set(planted.loc[planted["fault"] == name, "of"]) if name.endswith("duplicates") else set()
        has = (fault == name).to_numpy()
        places = np.flatnonzero(has | (fault.isna() & ~samples["sample"].isin(copied)).to_numpy())
        found[str(name)] = Planted(places, has[places])
    return found


def auc_interval(values: np.ndarray, has: np.ndarray, confidence: float) -> tuple[float, float, float]:
    """Return the area under the ROC curve and the ends of its interval, in 0..1; ties count half.

    Args:
        values: larger for more suspicious, ``[n]``.
        has: which of them are faults, boolean ``[n]``, some of either.

    Source: DeLong, DeLong and Clarke-Pearson 1988.
    """
    faults, others = values[has], values[~has]
    ranks = average_ranks(np.concatenate([faults, others]))
    count = len(faults)
    above = (ranks[:count] - average_ranks(faults)) / len(others)
    below = 1 - (ranks[count:] - average_ranks(others)) / count
    area = float(above.mean())
    variance = sum(part.var(ddof=1) / len(part) if len(part) > 1 else 0.0 for part in (above, below))
    half = ndtri(0.5 + confidence / 2) * variance**0.5
    return area, max(0.0, area - half), min(1.0, area + half)


def average_precision(values: np.ndarray, has: np.ndarray) -> float:
    """Return the mean precision at the place of each fault, in 0..1; images of one value share its last place."""
    order = np.argsort(-values, kind="stable")
    ranked, hits = values[order], has[order]
    last = np.searchsorted(-ranked, -ranked, side="right")
    precision = np.cumsum(hits)[last - 1] / last
    return float(precision[hits].mean())


def expected_hits(values: np.ndarray, has: np.ndarray, first: int) -> float:
    """Return how many faults are among the ``first`` by value, on average over the orders of equal ones."""
    order = np.argsort(-values, kind="stable")
    edge = values[order[first - 1]]
    surely, tied = values > edge, values == edge
    return float(has[surely].sum() + has[tied].mean() * (first - surely.sum()))


@dataclass(frozen=True)
class DetectionFiles:
    """Where the tables go: of detectors, and of what is found in the first part of the list."""

    detection: Path
    found: Path


def evaluate_audit(
    samples: Path, held_out: Path, planted: Path, settings: Mapping[str, Any], files: DetectionFiles
) -> None:
    """Write how well every detector finds every planted fault.

    Args:
        settings: the ``confidence`` of the intervals, and the ``seed`` of the random detector.

    Raises:
        UserError: a table is torn.
    """
    table = read_samples_table(samples)
    values = detectors(table, read_samples_table(held_out), settings["seed"])
    told = planted_rows(table, read_csv(planted, dtype=str, keep_default_na=False))
    pairs = [(detector, fault) for fault in told for detector in values]
    rows = [_row(values[detector], told[fault], settings["confidence"]) for detector, fault in pairs]
    named = [(*pair, *row) for pair, row in zip(pairs, rows, strict=True)]
    write_csv(pd.DataFrame(named, columns=COLUMNS), files.detection)
    found = [
        (detector, fault, *row)
        for detector, fault in pairs
        for row in _found(values[detector], told[fault], settings["confidence"])
    ]
    write_csv(pd.DataFrame(found, columns=FOUND_COLUMNS), files.found)


def _row(values: np.ndarray, planted: Planted, confidence: float) -> tuple[float, ...]:
    mine, count = values[planted.places], int(planted.has.sum())
    area, low, high = auc_interval(mine, planted.has, confidence)
    precision = expected_hits(mine, planted.has, count) / count
    return area, average_precision(mine, planted.has), precision, low, high


def _found(values: np.ndarray, planted: Planted, confidence: float) -> Iterator[tuple[float, ...]]:
    mine, count = values[planted.places], int(planted.has.sum())
    for share in FIRST:
        hits = expected_hits(mine, planted.has, max(1, round(share * len(mine))))
        ones = np.zeros(count)
        ones[: round(hits)] = 1
        yield share, hits, count, hits / count, *rate_interval([ones], confidence)
