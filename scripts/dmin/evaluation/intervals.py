"""Intervals of the tables: of rates, of means, and of measures that only resampling can judge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri, stdtrit

from dmin.runtime.percentiles import percentile_interval

if TYPE_CHECKING:
    import pandas as pd


def rate_interval(groups: Sequence[np.ndarray], confidence: float) -> tuple[float, float]:
    """Return the ends, in 0..1, of the interval of the mean over groups of mean shares in 0..1.

    Wilson's interval at the effective number of trials: as many as would give the variance seen between the shares of a
    group, to which one share of 0 and one of 1 are added, with Student's quantile. No shares in 0..1 vary more than
    single trials, so there are at least as many as shares; where all shares are 0 or 1, as many, which is Wilson's
    interval itself. So equal shares have an interval, and it covers at 20 shares what it says.

    Args:
        groups: the shares of each group, one or more, each independent of all others.

    Source: Wilson 1927, with the effective sample size of Korn and Graubard 1998; the added shares are ours.
    """
    counts = np.array([len(shares) for shares in groups])
    rate = float(np.mean([shares.mean() for shares in groups]))
    weights = 1 / (len(groups) ** 2 * counts)
    trials, freedom = 1 / float(weights.sum()), int(counts.sum()) - len(groups)
    quantile = float(ndtri(0.5 + confidence / 2))
    if freedom > 0:
        each = [shares.var(ddof=1) if len(shares) > 1 else rate * (1 - rate) for shares in groups]
        added = (rate**2 + (1 - rate) ** 2) / trials
        variance = (float(weights @ each) * freedom + added) / (freedom + 2)
        wider = quantile / float(stdtrit(freedom, 0.5 + confidence / 2))
        trials = max(trials, rate * (1 - rate) / variance * wider**2)
    square = quantile**2 / trials
    centre = (rate + square / 2) / (1 + square)
    half = np.sqrt(square * (rate * (1 - rate) + square / 4)) / (1 + square)
    # Rounding may leave an end outside by the last digit.
    return float(np.clip(centre - half, 0, rate)), float(np.clip(centre + half, rate, 1))


def mean_interval(values: np.ndarray, confidence: float) -> tuple[float, float]:
    """Return the ends of Student's interval of the mean of independent ``values [n]``; NaN for fewer than two."""
    if len(values) < 2:
        return float("nan"), float("nan")
    half = stdtrit(len(values) - 1, 0.5 + confidence / 2) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def shifted_interval(resamples: np.ndarray, estimate: np.ndarray | float, confidence: float) -> np.ndarray:
    """Return the percentile interval, ``[2, ...]``, shifted until the resamples' mean is the estimate.

    For measures that repeats bias: a resample repeats what it draws, which makes hubs of lists and ties of ranks.

    Args:
        resamples: resampled values ``[resamples, ...]``.
        estimate: the value of what was resampled ``[...]``.
    """
    ends: np.ndarray = percentile_interval(resamples, confidence) + (estimate - resamples.mean(axis=0))
    return ends


def combined_interval(estimate: float, sources: Sequence[tuple[float, int]], confidence: float) -> tuple[float, float]:
    """Return the ends of Student's interval of an estimate whose error has several independent sources.

    Args:
        sources: the variance of the estimate by each source, and the degrees of freedom that it was estimated with.

    Source: Satterthwaite 1946, for the degrees of freedom of their sum.
    """
    variance = sum(part for part, _ in sources)
    if not variance > 0:
        return (estimate, estimate) if variance == 0 else (float("nan"), float("nan"))
    freedom = variance**2 / sum(part**2 / count for part, count in sources)
    half = float(stdtrit(freedom, 0.5 + confidence / 2)) * variance**0.5
    return estimate - half, estimate + half


def crossed_mean(values: pd.Series, confidence: float, drawn: np.ndarray | None = None) -> list[float]:
    """Return the mean of values by image and training seed, and the ends of its interval.

    The error has the parts by images and by seeds; see :func:`combined_interval`. A single seed has no error by seeds.

    Args:
        values: with an index of two levels, the image first.
        drawn: means by random draw, whose spread is one more source of error.
    """
    sources = [values.groupby(level=level).mean().to_numpy() for level in (0, 1)]
    if drawn is not None:
        sources.append(drawn)
    parts = [(float(means.var(ddof=1)) / len(means), len(means) - 1) for means in sources if len(means) > 1]
    mean = float(values.groupby(level=0).mean().mean())
    if not parts:
        return [mean, float("nan"), float("nan")]
    return [mean, *combined_interval(mean, parts, confidence)]
