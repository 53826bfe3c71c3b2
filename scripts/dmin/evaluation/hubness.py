"""Generally influential samples: training samples that rank high for every query."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dmin.data.subsets import read_subsets
from dmin.evaluation.detection import RankedList
from dmin.evaluation.intervals import shifted_interval
from dmin.runtime.atomic import write_csv
from dmin.runtime.errors import UserError
from dmin.runtime.parquet import read_parquet
from dmin.runtime.seeds import derive_seed
from dmin.settings.runs import Evaluation

log = logging.getLogger(__name__)

COLUMNS = ["method", "v", "k", "measure", "value", "low", "high", "queries", "train"]
MEASURES = ["unique_ratio", "hubs", "max_count", "gini"]
# A hub is in the top k of this share of the queries.
HUB_SHARE = 0.1


def hub_measures(counts: np.ndarray, queries: int, train: int, k: int) -> np.ndarray:
    """Measure how unevenly top-k lists spread over the training samples.

    Args:
        counts: ``[n, samples]``, of ``n`` sets of queries, how many queries have a sample in their top ``k``; samples
            that are in none may be left out.
        queries: queries per set, M.
        train: training samples, N.

    Returns:
        float64 ``[n, 4]`` in the order of ``MEASURES``: the unique ratio ``|union of the top k| / (M k)``, the number
        of hubs (samples in the top k of at least 10 % of the queries), the largest count, and the Gini coefficient of
        all N counts (0 when all are equal, near 1 when few samples fill all lists).

    Source: the samples that ReTrac (Xie et al. 2024) calls generally influential; these definitions are ours.
    """
    sets = len(counts)
    cells = np.arange(sets)[:, None] * (queries + 1) + counts
    histogram = np.bincount(cells.ravel(), minlength=sets * (queries + 1)).reshape(sets, queries + 1)
    histogram[:, 0] += train - counts.shape[1]
    levels = np.arange(queries + 1)
    mass = np.cumsum(histogram * levels, axis=1) / (queries * k)
    before = np.concatenate([np.zeros((sets, 1)), mass[:, :-1]], axis=1)
    measures = {
        "unique_ratio": (train - histogram[:, 0]) / (queries * k),
        "hubs": histogram[:, math.ceil(HUB_SHARE * queries - 1e-9) :].sum(axis=1),
        "max_count": queries - (histogram[:, ::-1] > 0).argmax(axis=1),
        "gini": 1 - (histogram / train * (before + mass)).sum(axis=1),
    }
    return np.stack([measures[name] for name in MEASURES], axis=1).astype(np.float64)


def resample_weights(subsets: Sequence[str], resamples: int, seed: int) -> np.ndarray:
    """Return how often each query is drawn in each resample, float32 ``[resamples, queries]``, within its subset."""
    names = np.asarray(subsets)
    weights = np.zeros((resamples, len(names)), dtype=np.float32)
    for name in sorted({*subsets}):
        places = np.flatnonzero(names == name)
        drawn = np.random.default_rng(derive_seed(seed, "bootstrap", name)).integers(
            0, len(places), (resamples, len(places))
        )
        np.add.at(weights, (np.arange(resamples)[:, None], places[drawn]), 1)
    return weights


def hubness_rows(
    top: pd.DataFrame, ks: Sequence[int], train: int, weights: np.ndarray, confidence: float
) -> list[dict[str, Any]]:
    """Tabulate the measures of one ranked list for every k, with bootstrap intervals over queries.

    A resample repeats queries, and repeated lists look like hubs: see :func:`shifted_interval`. Ends are cut to the
    measure's range.

    Args:
        train: the number of training samples.
        weights: of the queries sorted by subset and id, ``[resamples, queries]``.

    Raises:
        UserError: the lists are shorter than a k.
    """
    top = top.sort_values(["query_subset", "query_id", "rank"])
    rows, queries = [], weights.shape[1]
    for k in ks:
        first = top[top["rank"] <= k]
        if len(first) != queries * k:
            raise UserError(f"Ranked lists hold {len(first) / queries:g} samples, fewer than k={k}; raise top_k.")
        sample, samples = pd.factorize(first["sample_id"])
        listed = np.zeros((queries, len(samples)), dtype=np.float32)
        listed[np.repeat(np.arange(queries), k), sample] = 1
        estimate = hub_measures(listed.sum(axis=0, keepdims=True).astype(np.int64), queries, train, k)[0]
        drawn = hub_measures((weights @ listed).astype(np.int64), queries, train, k)
        low, high = np.clip(shifted_interval(drawn, estimate, confidence), 0, np.array([1, train, queries, 1]))
        rows += [
            {"k": k, "measure": name, "value": value, "low": one, "high": other, "queries": queries, "train": train}
            for name, value, one, other in zip(MEASURES, estimate, low, high, strict=True)
        ]
    return rows


def evaluate_hubness(lists: Sequence[RankedList], samples: Path, evaluation: Evaluation, out: Path) -> None:
    """Write the measures of every ranked list, one row per list, k and measure.

    Args:
        samples: the training table, which gives the number of training samples.

    Raises:
        UserError: a list is shorter than a k.
    """
    train = len(read_subsets([samples]))
    rows: list[dict[str, Any]] = []
    known: dict[tuple[str, ...], np.ndarray] = {}
    for entry in lists:
        top = read_parquet(entry.path, columns=["query_id", "query_subset", "rank", "sample_id"])
        asked = top.drop_duplicates("query_id").sort_values(["query_subset", "query_id"])
        subsets = tuple(asked["query_subset"])
        if subsets not in known:
            known[subsets] = resample_weights(subsets, evaluation["bootstrap"], evaluation["seed"])
        found = hubness_rows(top, evaluation["k"], train, known[subsets], evaluation["confidence"])
        rows += [{"method": entry.method, "v": entry.v, **row} for row in found]
        last = {row["measure"]: row["value"] for row in found[-len(MEASURES) :]}
        log.info("%s v=%s: %d hubs, unique ratio %.3f", entry.method, entry.v, last["hubs"], last["unique_ratio"])
    write_csv(pd.DataFrame(rows, columns=COLUMNS), out)
