"""How the stroke thickness of generated digits moves when training digits are removed."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import ks_2samp

from dmin.data.samples import read_samples, sample_pixels
from dmin.data.thickness import digit_thicknesses
from dmin.evaluation.classifier import load_classifier
from dmin.evaluation.intervals import Interval, combined_interval
from dmin.evaluation.studied_removals import StudiedRemovals
from dmin.retraining.regenerated import read_regenerated
from dmin.retraining.removal_names import NONE
from dmin.runtime.atomic import write_csv, write_parquet
from dmin.runtime.meter import hardware_label
from dmin.runtime.seeds import derive_seed

log = logging.getLogger(__name__)

COLUMNS = ["method", "v", "removed", "seed", "statistic", "value", "shift", "low", "high", "p", "images", "seeds"]
COLUMNS += ["budget", "hardware"]
ALL = "all"


def statistics_of(values: np.ndarray) -> dict[str, float]:
    """Return the mean and five quantiles of thicknesses, without those that are NaN."""
    finite = values[np.isfinite(values)]
    quantiles = np.quantile(finite, [0.1, 0.25, 0.5, 0.75, 0.9]).tolist() if len(finite) else [float("nan")] * 5
    mean = float(finite.mean()) if len(finite) else float("nan")
    return {"mean": mean, **dict(zip(("q10", "q25", "q50", "q75", "q90"), quantiles, strict=True))}


def resampled_shifts(
    values: np.ndarray, recognised: np.ndarray, whole: np.ndarray, known: np.ndarray, resamples: int, seed: int
) -> pd.DataFrame:
    """Return the shifts of every statistic in resamples, with replacement, of the noises.

    Args:
        values: thickness of the images after a removal ``[seeds, noises]``.
        recognised: whether the classifier is sure of their class, as many.
        whole: thickness after nothing was removed, from the same seeds and noises.
        known: as ``recognised``, of these.
    """
    rows = []
    for number in range(resamples):
        generator = np.random.default_rng(derive_seed(seed, "thickness", number))
        chosen = generator.integers(0, values.shape[1], size=values.shape[1])
        rows.append(shifts_of(*(part[:, chosen] for part in (values, recognised, whole, known))))
    return pd.DataFrame(rows)


def shifts_of(values: np.ndarray, recognised: np.ndarray, whole: np.ndarray, known: np.ndarray) -> dict[str, float]:
    """Return the shift of every statistic; arguments as those of :func:`resampled_shifts`."""
    after, before = statistics_of(values), statistics_of(whole)
    shifts = {name: after[name] - before[name] for name in after}
    return shifts | {"recognised": recognised.mean() - known.mean()}


def thickness_rows(images: pd.DataFrame, method: str, interval: Interval) -> list[dict[str, Any]]:
    """Tabulate a removal's statistics and their shifts for every training seed and over all of them.

    A shift is the difference to nothing removed with the same training seeds and noises. Its interval takes both as
    drawn: the error by noises is that of resamples, that by training seeds the spread of the shifts of each; see
    :func:`combined_interval`. A row of a single training seed has the first alone. ``ks`` is the statistic of the
    two-sample test of Kolmogorov and Smirnov with its ``p``; over all seeds both samples pool theirs. ``recognised`` is
    the share of images of whose class the classifier is sure.

    Args:
        images: columns ``method, repeat, id, thickness, recognised``.
    """
    mine, rest = images[images["method"] == method], images[images["method"] == NONE]
    cubes = [
        part.pivot_table(index="repeat", columns="id", values=column, dropna=False, aggfunc="first").sort_index()
        for part in (mine, rest)
        for column in ("thickness", "recognised")
    ]
    repeats = cubes[0].index.tolist()
    values, recognised, whole, known = (cube.loc[repeats].to_numpy(dtype=np.float64) for cube in cubes)
    rows: list[dict[str, Any]] = []
    for label, chosen in [(ALL, slice(None)), *((str(name), slice(n, n + 1)) for n, name in enumerate(repeats))]:
        after, before = values[chosen], whole[chosen]
        found = statistics_of(after.ravel()) | {"recognised": recognised[chosen].mean()}
        base = statistics_of(before.ravel()) | {"recognised": known[chosen].mean()}
        count = {"images": int(np.isfinite(after).sum()), "seeds": len(after)}
        shared = {"method": method, "seed": label, **count}
        if method == NONE:
            rows += [{**shared, "statistic": name, "value": found[name]} for name in found]
            continue
        pairs = (after, recognised[chosen], before, known[chosen])
        by_noise = resampled_shifts(*pairs, interval["bootstrap"], interval["seed"]).var(ddof=1)
        by_seed = pd.DataFrame([shifts_of(*(part[[row]] for part in pairs)) for row in range(len(after))]).var(ddof=1)
        for name in found:
            sources = [(float(by_noise[name]), after.shape[1] - 1), (float(by_seed[name]) / len(after), len(after) - 1)]
            shift = found[name] - base[name]
            low, high = combined_interval(shift, sources[: min(2, len(after))], interval["confidence"])
            rows.append({**shared, "statistic": name, "value": found[name], "shift": shift, "low": low, "high": high})
        test = ks_2samp(after[np.isfinite(after)], before[np.isfinite(before)])
        rows.append({**shared, "statistic": "ks", "value": float(test.statistic), "p": float(test.pvalue)})
    return rows


def removed_by_subset(removed: Mapping[str, Path], samples: Path) -> pd.DataFrame:
    """Count what each removal takes of every subset: columns ``method, subset, removed, train, share, thickness``.

    ``thickness`` is the mean of the removed digits'; method ``none`` has that of all training digits.
    """
    train = read_samples(samples)
    train["thickness"] = digit_thicknesses(sample_pixels(train))
    sizes, rows = train["subset"].value_counts(), []
    for method, path in removed.items():
        gone = train if method == NONE else train[train["id"].isin(set(pd.read_parquet(path)["id"]))]
        for subset in [*sorted(sizes.index), ALL]:
            part = gone if subset == ALL else gone[gone["subset"] == subset]
            total = int(sizes.sum() if subset == ALL else sizes[subset])
            count = 0 if method == NONE else len(part)
            facts = {"method": method, "subset": subset, "removed": count, "train": total, "share": count / total}
            rows.append({**facts, "thickness": part["thickness"].mean()})
    return pd.DataFrame(rows)


class ThicknessSettings(Interval):
    """What retrainings have as many of (epochs or steps), the ``least`` probability of a sure class, and intervals."""

    budget: str
    least: float


@dataclass(frozen=True)
class ThicknessFiles:
    """Where the study goes: the ``table`` of statistics, the ``counts`` of what was removed, and all ``values``."""

    table: Path
    counts: Path
    values: Path


def evaluate_thickness(
    removals: StudiedRemovals,
    removed: Mapping[str, Path],
    samples: Path,
    classifier: Path,
    settings: ThicknessSettings,
    files: ThicknessFiles,
) -> None:
    """Write the statistics of thickness after every removal, the classes of what was removed, and all thicknesses.

    Args:
        removals: ``none`` is among them.
        removed: see :func:`write_removals`, by removal.
        samples: the training table.

    Source: the stroke-thickness study of DMin's supplement, which shows a figure only; the statistics are ours.
    """
    images = read_regenerated(removals.images)
    pixels = sample_pixels(images)
    _, sure = load_classifier(classifier).classify(pixels)
    images["thickness"], images["recognised"] = digit_thicknesses(pixels), sure >= settings["least"]
    by_subset = removed_by_subset(removed, samples)
    totals = by_subset[by_subset["subset"] == ALL].set_index("method")["removed"]
    rows = []
    for method in removals.images:
        rows += thickness_rows(images, method, settings)
    found = pd.DataFrame(rows)
    found["v"] = removals.widths_of(found["method"])
    found["removed"] = [totals[method] for method in found["method"]]
    found = found.assign(budget=settings["budget"], hardware=hardware_label())
    write_csv(found.reindex(columns=COLUMNS), files.table)
    write_csv(by_subset, files.counts)
    write_parquet(images[["method", "repeat", "id", "thickness", "recognised"]], files.values)
    for row in found[(found["statistic"] == "mean") & (found["seed"] == ALL)].to_dict("records"):
        log.info(
            "%(method)s: %(removed)d removed, mean %(value).3f, shift %(shift)+.3f (%(low)+.3f to %(high)+.3f)", row
        )
