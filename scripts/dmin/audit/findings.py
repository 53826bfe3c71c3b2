"""What an issue of a training set is, and what it needs to be told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypedDict

import numpy as np
import pandas as pd

from dmin.attribution.conformal import adjusted, conformal_p

# Fewer images say nothing of what is usual.
LEAST_IMAGES = 20


class IssueSettings(TypedDict):
    """The false discovery rate that is borne, and the confidence of intervals."""

    fdr: float
    confidence: float


@dataclass(frozen=True)
class Audited:
    """The tables of training images and of held-out ones, and the settings."""

    train: pd.DataFrame
    held_out: pd.DataFrame
    settings: IssueSettings

    @property
    def subsets(self) -> int:
        """How many subsets the training images have."""
        return self.train["subset"].nunique()


@dataclass(frozen=True)
class Found:
    """An issue of some training images, each array over all of them ``[N]``.

    Attributes:
        strength: how much of it each has, comparable within the issue.
        p_value: the chance of as much in an image without it; NaN where none is known.
        low, high: the ends of an interval of the strength; NaN where none is known.
        has: which images have it.
        controlled: which of them are found at the false discovery rate, where there are p-values; else as ``has``.
        evidence: why, for an image at a place.
        held_out: the strength in each held-out image ``[m]``, where p-values are ranks among these.
    """

    strength: np.ndarray
    p_value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    has: np.ndarray
    controlled: np.ndarray
    evidence: Callable[[int], str] = field(repr=False)
    held_out: np.ndarray | None = None


# Its name has no Error at its end: what such classes are given does not count as code, and this message is a result.
class LeftOut(Exception):  # noqa: N818
    """An issue cannot be told of this data set; the message says why, and is told in ``audit.json``."""


def require_images(given: Audited) -> None:
    """Refuse a training set of a few images.

    Raises:
        LeftOut: it is one.
    """
    if len(given.train) < LEAST_IMAGES:
        raise LeftOut(f"there are {len(given.train)} training images, and it needs {LEAST_IMAGES}")


def require_subsets(given: Audited) -> None:
    """Refuse a training set of one subset.

    Raises:
        LeftOut: it is one.
    """
    if given.subsets < 2:
        raise LeftOut("there is one subset, and it needs two")


def require_held_out(given: Audited) -> None:
    """Refuse an audit without images that were not trained on.

    Raises:
        LeftOut: there are too few.
    """
    count = len(given.held_out)
    if count < LEAST_IMAGES:
        held = f"the test set has {count} images" if count else "there is no test set"
        raise LeftOut(
            f"{held}, and it needs {LEAST_IMAGES} that were not trained on: set datasets.train_fraction or test_sources"
        )


def against_held_out(
    given: Audited, strength: np.ndarray, held_out: np.ndarray, evidence: Callable[[int], str]
) -> Found:
    """Return an issue whose p-values are the ranks of its strength among held-out images.

    It is had by what is found at the false discovery rate, and by what is beyond every held-out image.
    """
    p_values = conformal_p(strength, held_out)
    beyond = strength > np.nanmax(held_out)
    controlled = adjusted(p_values) <= given.settings["fdr"]
    by_chance = len(given.train) / (len(held_out) + 1)

    def words(place: int) -> str:
        if controlled[place]:
            return evidence(place)
        return f"{evidence(place)}; beyond all {len(held_out)} held-out images, as about {by_chance:.0f} are by chance"

    none = np.full(len(strength), np.nan)
    return Found(strength, p_values, none, none, controlled | beyond, controlled, words, held_out)


def with_interval(found: Found, low: np.ndarray, high: np.ndarray) -> Found:
    """Return an issue with the ends of an interval of its strength."""
    return replace(found, low=low, high=high)


def without_p(strength: np.ndarray, evidence: Callable[[int], str]) -> Found:
    """Return an issue that is had wherever its strength is above 0."""
    none = np.full(len(strength), np.nan)
    return Found(strength, none, none, none, strength > 0, strength > 0, evidence)


# What is added up to the strength of an issue, each over its deviation among held-out images.
MISLABELLED = ("influence_margin", "feature_margin")
WRONG_CAPTION = ("caption_gap", "caption_image_margin", "caption_text_margin")


def added_up(table: pd.DataFrame, held_out: pd.DataFrame, names: Sequence[str]) -> np.ndarray:
    """Return the sum ``[n]`` of some columns of a table, each over its standard deviation among held-out images.

    Columns that either table lacks are left out, and one without a deviation is added as it is.
    """
    total = np.zeros(len(table))
    for name in names:
        if name in table and name in held_out:
            total += table[name].to_numpy(dtype=float) / deviation(held_out[name])
    return total


def deviation(values: pd.Series) -> float:
    """Return the standard deviation of values, 1 where they have none: fewer than two are there, or all are equal."""
    found = float(values.std())
    return found if found > 0 else 1.0
