"""How the stroke thickness of generated digits moves when training digits are removed."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from scipy.stats import ks_2samp

from dmin.data.samples import read_samples, sample_pixels
from dmin.data.thickness import digit_thicknesses
from dmin.evaluation.intervals import combined_interval
from dmin.evaluation.studied_removals import StudiedRemovals
from dmin.models.classifier import load_classifier
from dmin.retraining.regenerated import read_regenerated
from dmin.retraining.removal_names import NONE
from dmin.runtime.atomic import write_csv, write_parquet
from dmin.runtime.meter import hardware_label
from dmin.runtime.parquet import read_parquet
from dmin.runtime.percentiles import Interval
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


@dataclass(frozen=True)
class Digits:
    """Digits generated after a removal, or after none: arrays ``[sets, seeds, noises]``.

    Attributes:
        thickness: in pixels of 28; NaN for a blank image.
        recognised: whether the classifier is sure of the class, 0 or 1.
    """

    thickness: np.ndarray
    recognised: np.ndarray

    @classmethod
    def of(cls, images: pd.DataFrame) -> Self:
        """Arrange images by set, seed and noise; columns ``set, repeat, id, thickness, recognised``."""
        keys = ["set", "repeat", "id"]
        images = images.sort_values(keys)
        shape = tuple(images[key].nunique() for key in keys)
        return cls(*(images[name].to_numpy(np.float64).reshape(shape) for name in ("thickness", "recognised")))

    def take(self, places: np.ndarray, axis: int) -> Digits:
        """Return those at some places of an axis."""
        return Digits(self.thickness.take(places, axis), self.recognised.take(places, axis))

    def statistics(self) -> dict[str, float]:
        """Return the statistics of all thicknesses, and the share that is recognised."""
        return statistics_of(self.thickness) | {"recognised": float(self.recognised.mean())}


def shift_sources(after: Digits, before: Digits, resamples: int, seed: int) -> list[tuple[pd.Series, int]]:
    """Return the variance of every shift by noises, training seeds and removed sets, with its degrees of freedom.

    That by noises is the variance in resamples of them, with replacement; that by seeds and by sets, where there are
    two or more, follows from the shift of each.

    Args:
        before: from the same seeds and noises, of one set.
    """
    sets, seeds, noises = after.thickness.shape
    generators = [np.random.default_rng(derive_seed(seed, "thickness", draw)) for draw in range(resamples)]
    drawn = [generator.integers(0, noises, size=(noises,)) for generator in generators]
    by_noise = pd.DataFrame([shifts_of(after.take(each, 2), before.take(each, 2)) for each in drawn])
    sources = [(by_noise.var(ddof=1), noises - 1)]
    by_seed = [shifts_of(after.take(np.array([each]), 1), before.take(np.array([each]), 1)) for each in range(seeds)]
    by_set = [shifts_of(after.take(np.array([each]), 0), before) for each in range(sets)]
    spread = [pd.DataFrame(shifts) for shifts in (by_seed, by_set) if len(shifts) > 1]
    return sources + [(shifts.var(ddof=1) / len(shifts), len(shifts) - 1) for shifts in spread]


def shifts_of(after: Digits, before: Digits) -> dict[str, float]:
    """Return the shift of every statistic."""
    found, base = after.statistics(), before.statistics()
    return {name: found[name] - base[name] for name in found}


def thickness_rows(images: pd.DataFrame, method: str, interval: Interval) -> list[dict[str, Any]]:
    """Tabulate a removal's statistics and their shifts for every training seed and over all of them.

    A shift is the difference to nothing removed with the same training seeds and noises. Its interval takes noises,
    training seeds and the sets of a removal that has several as drawn; see :func:`combined_interval`. A row of a single
    training seed knows no error by seeds. ``ks`` is the statistic of the two-sample test of Kolmogorov and Smirnov with
    its ``p``; over all seeds both samples pool theirs. ``recognised`` is the share of images of whose class the
    classifier is sure.

    Args:
        images: columns ``method, set, repeat, id, thickness, recognised``.
    """
    mine, rest = images[images["method"] == method], images[images["method"] == NONE]
    repeats = sorted(set(mine["repeat"]))
    after, before = Digits.of(mine), Digits.of(rest[rest["repeat"].isin(repeats)])
    rows: list[dict[str, Any]] = []
    places = np.arange(len(repeats))
    for label, chosen in [(ALL, places), *((str(name), places[n : n + 1]) for n, name in enumerate(repeats))]:
        found, base = after.take(chosen, 1), before.take(chosen, 1)
        values = found.statistics()
        count = {"images": int(np.isfinite(found.thickness).sum()), "seeds": len(chosen)}
        shared = {"method": method, "seed": label, **count}
        if method == NONE:
            rows += [{**shared, "statistic": name, "value": value} for name, value in values.items()]
            continue
        sources = shift_sources(found, base, interval["bootstrap"], interval["seed"])
        for name, shift in shifts_of(found, base).items():
            parts = [(float(variance[name]), freedom) for variance, freedom in sources]
            low, high = combined_interval(shift, parts, interval["confidence"])
            change = {"shift": shift, "low": low, "high": high}
            rows.append({**shared, "statistic": name, "value": values[name], **change})
        test = ks_2samp(*(part.thickness[np.isfinite(part.thickness)] for part in (found, base)))
        rows.append({**shared, "statistic": "ks", "value": float(test.statistic), "p": float(test.pvalue)})
    return rows


def removed_by_subset(removed: Mapping[str, Path], samples: Path) -> pd.DataFrame:
    """Count what each removal takes of every subset: columns ``method, subset, removed, train, share, thickness``.

    ``thickness`` is the mean of the removed digits'; method ``none`` has that of all training digits. Of a removal of
    several sets counts are means over them.
    """
    train = read_samples(samples)
    train["thickness"] = digit_thicknesses(sample_pixels(train))
    sizes, rows = train["subset"].value_counts(), []
    for method, path in removed.items():
        taken = read_parquet(path)
        gone = train if method == NONE else train.merge(taken[["set", "id"]], on="id")
        for subset in [*sorted(sizes.index), ALL]:
            part = gone if subset == ALL else gone[gone["subset"] == subset]
            total = int(sizes.sum() if subset == ALL else sizes[subset])
            count = 0 if method == NONE else len(part) / taken["set"].nunique()
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
    totals = by_subset[by_subset["subset"] == ALL].set_index("method")["removed"].astype(int)
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
