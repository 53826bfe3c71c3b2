"""What removing the flagged images does: the loss of held-out images, and whether what is asked for is generated."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
import pandas as pd

from dmin.audit.embed import SIDE
from dmin.audit.removals import LOSS, RECOGNISED
from dmin.data.samples import read_samples, sample_pixels
from dmin.evaluation.intervals import crossed_mean
from dmin.games.feature_files import read_features
from dmin.models.image_embedding import efficientnet_embeddings
from dmin.retraining.removal_names import NONE, RANDOM
from dmin.runtime.atomic import write_csv
from dmin.runtime.errors import UserError
from dmin.runtime.parquet import read_parquet

log = logging.getLogger(__name__)

COLUMNS = [
    "removal", "removed", "measure", "value", "difference", "low", "high", "over_random", "over_random_low",
    "over_random_high", "images", "seeds",
]  # fmt: skip
# Held-out images that tell the subset of a generated one.
_NEAREST = 5
_KEYS = ["set", "repeat", "image"]


@dataclass(frozen=True)
class Retrained:
    """The files of the retrainings.

    Attributes:
        removed: what each set leaves out; see :func:`dmin.audit.removals.choose_audited_removals`.
        losses: of the held-out images under the models; see :func:`dmin.retraining.losses.measure_losses`.
        images: what the models generate; see :func:`dmin.retraining.regenerate.regenerate`.
    """

    removed: Path
    losses: Sequence[Path]
    images: Sequence[Path]


@dataclass(frozen=True)
class Recognition:
    """What the subset of a generated image is told by: the ``queries`` that it was generated for, and the ``held_out``
    images with their ``features``."""

    queries: Path
    held_out: Path
    features: Path


class ConsequenceSettings(TypedDict):
    """What each set removes, by number, and the confidence of the intervals."""

    removals: Sequence[str]
    confidence: float


def evaluate_consequence(
    retrained: Retrained, recognition: Recognition | None, settings: ConsequenceSettings, out: Path, batch: int
) -> None:
    """Write what each removal does to the loss of held-out images, and to the share of images that are recognised.

    ``value`` is the mean over images, seeds and sets. ``difference`` is that to the model trained on everything with
    the same seed, paired by image; ``over_random`` the same minus the removal of as many random images as are flagged.
    Intervals have the error by images, by training seeds and, over random, by draws; see
    :func:`dmin.evaluation.intervals.crossed_mean`. A generated image is recognised where most of the 5 held-out images
    nearest by features are of the subset that its prompt is of.

    Args:
        recognition: None where no prompt asks for a subset; the table then has losses alone.
        batch: images that are embedded together.

    Raises:
        UserError: the losses of a retraining are missing.
    """
    measured = {LOSS: _losses(retrained.losses)}
    if recognition is not None:
        recognised = _recognised(retrained.images, recognition, batch)
        # With one subset everything is recognised.
        measured |= {RECOGNISED: recognised} if recognised is not None else {}
    counts = read_parquet(retrained.removed).groupby("set").size()
    rows = []
    for measure, values in measured.items():
        for removal, *numbers in consequences(values, settings["removals"], settings["confidence"]):
            number = settings["removals"].index(str(removal))
            rows.append([removal, int(counts.get(number, 0)), measure, *numbers])
            log.info("%s, %s: %.5f, %+.5f (%+.5f to %+.5f)", removal, measure, *map(float, numbers[:4]))
    write_csv(pd.DataFrame(rows, columns=COLUMNS), out)


def consequences(values: pd.DataFrame, removals: Sequence[str], confidence: float) -> list[list[str | float]]:
    """Return, for each removal, its name and what :data:`COLUMNS` has after ``measure``.

    Args:
        values: columns ``set, repeat, image, value``.
        removals: what each set removes, by number.

    Raises:
        UserError: values of a retraining are missing.
    """
    table = values.assign(removal=values["set"].map(dict(enumerate(removals))))
    each = table["repeat"].nunique() * table["image"].nunique()
    if table.groupby("set").size().reindex(range(len(removals))).ne(each).any():
        raise UserError(
            "The losses of a retraining without flagged images are missing; delete the run's folder audit/consequence "
            "and run again."
        )
    whole = table[table["removal"] == NONE].set_index(["image", "repeat"])["value"]
    table["change"] = table["value"] - whole.loc[pd.MultiIndex.from_frame(table[["image", "repeat"]])].to_numpy()
    random = table[table["removal"] == RANDOM]
    missing = [float("nan")] * 3
    rows: list[list[str | float]] = []
    for removal in dict.fromkeys(removals):
        mine = table[table["removal"] == removal]
        changes = mine.groupby(["image", "repeat"])["change"].mean()
        own = random.groupby("set")["change"].mean().to_numpy() if removal == RANDOM else None
        found = [0.0, 0.0, 0.0] if removal == NONE else crossed_mean(changes, confidence, own)
        over = missing
        if removal not in (NONE, RANDOM):
            paired = changes - random.groupby(["image", "repeat"])["change"].mean()
            over = crossed_mean(paired, confidence, random.groupby("set")["change"].mean().to_numpy())
        facts = (mine["image"].nunique(), mine["repeat"].nunique())
        rows.append([removal, float(mine["value"].mean()), *found, *over, *facts])
    return rows


def _losses(files: Sequence[Path]) -> pd.DataFrame:
    """Return the mean loss over all timesteps, columns ``set, repeat, image, value``."""
    table = pd.concat([read_parquet(file) for file in files]).rename(columns={"query_id": "image"})
    sums = table.assign(value=table["loss"] * table["timesteps"]).groupby(_KEYS)[["value", "timesteps"]].sum()
    return (sums["value"] / sums["timesteps"]).rename("value").reset_index()


def _recognised(files: Sequence[Path], recognition: Recognition, batch: int) -> pd.DataFrame | None:
    """Return whether each generated image is recognised, 0 or 1; None where there is one subset."""
    held_out = read_samples(recognition.held_out, ["id", "subset"])["subset"].to_numpy()
    if len(set(held_out)) < 2:
        return None
    images = pd.concat([read_samples(file) for file in files], ignore_index=True)
    asked = read_samples(recognition.queries, ["id", "subset"]).set_index("id")["subset"]
    found = efficientnet_embeddings(sample_pixels(images), batch, SIDE)
    known = read_features(recognition.features)["features"]
    told = nearest_subsets(found, known, held_out)
    value = (told == asked.loc[images["id"]].to_numpy()).astype(float)
    numbers = images[["set", "repeat"]].astype(int)
    return numbers.assign(image=images["id"], value=value)


def nearest_subsets(rows: np.ndarray, known: np.ndarray, subsets: np.ndarray) -> np.ndarray:
    """Return the most frequent subset among the 5 nearest of ``known [m, d]`` to each of unit ``rows [n, d]``.

    Of equally frequent ones it is that of the nearest.
    """
    order = np.argsort(-(rows @ known.T), axis=1, kind="stable")[:, :_NEAREST]
    near = [subsets[places].tolist() for places in order]
    return np.array([max(names, key=lambda name: (names.count(name), -names.index(name))) for names in near])
