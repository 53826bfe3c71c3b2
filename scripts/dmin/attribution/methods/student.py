"""Student: a map of image and text features that is taught a gradient method's scores on pairs of training images."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from dmin.attribution.bilinear import fit_bilinear
from dmin.attribution.gradient_rows import GradientRows
from dmin.attribution.sample_features import FeatureSpace, evenly, frequent_words, others, raw_features
from dmin.data.sample_rows import SampleRows
from dmin.runtime.errors import UserError
from dmin.runtime.pace import Pace
from dmin.settings.runs import Options

METHOD = {
    "inputs": "taught",
    "summary": "Taught `dmin_scaled` (or `dmin`) on pairs of training images; queries need features and no gradient.",
    "score": "`f_q^T W f_i`, `W` the ridge of the teacher's scores of training images for one another",
    "range": "that of the teacher",
    "label": "Student",
    "look": ("#D55E00", "d", "dotted"),
    "columns": ("image", "prompt"),
    "options": ("student_teacher", "student_width"),
    "device": True,
}

log = logging.getLogger(__name__)

# Training images that stand for queries, and those that they are scored against, at most.
ASKED, SCORED = 1024, 4096
# Axes of the features.
WIDTH = 256
# Fewer pairs than of so many images teach nothing.
LEAST = 20
STORED = np.float16


def scores(
    queries: SampleRows, train: SampleRows, teacher: GradientRows, options: Options, pace: Pace
) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the scores, float32 ``[queries, train]``, in units of the teacher's, and what was learned.

    Half of the training images, at most 1,024, stand for queries; what the teacher's cache scores the others by them is
    foretold by a ridge from the features of both. The ridge is chosen by cross-validation among the former. Nothing is
    learned from queries. Of an image ``student_width`` half-precision values are kept. Ours.

    Args:
        teacher: gradients of the training samples, whose inner products are the teacher's scores.

    Raises:
        UserError: there are too few training images, the teacher's are other samples, its scores or all features are
            the same, or an image is unreadable.

    """
    _check(train, teacher)
    words = frequent_words(train)
    features = raw_features(train, words, pace.batch)
    space = FeatureSpace.of(features, WIDTH)
    known = space.coordinates(features)
    asked = evenly(len(train), min(ASKED, len(train) // 2))
    rest = others(len(train), asked)
    scored = [rest[place] for place in evenly(len(rest), SCORED)]
    truth = teacher_scores(teacher, asked, scored)
    if truth.std() == 0:
        raise UserError("The teacher of student scores all training images alike; check the gradient cache's log.")
    fit = fit_bilinear(known[asked], known[scored], truth, options["student_width"])
    explained = 100 * fit.explained
    log.info("ridge %.0e, explains %.1f %% of held-out %s", fit.penalty, explained, options["student_teacher"])
    kept = (known @ fit.right).astype(STORED)
    left = space.coordinates(raw_features(queries, words, pace.batch)) @ fit.left
    facts = {"penalty": fit.penalty, "explained": fit.explained, "kept_width": kept.shape[1]}
    return left.astype(np.float32) @ kept.astype(np.float32).T, facts


def _check(train: SampleRows, teacher: GradientRows) -> None:
    if len(train) < LEAST:
        raise UserError(
            f"Method student learns from pairs of training images, and there are {len(train)}, fewer than {LEAST}; "
            "leave it out of influence.methods."
        )
    if teacher.ids != train.ids:
        raise UserError("The teacher's gradients are of other samples than the training table; remake them.")


def teacher_scores(teacher: GradientRows, asked: list[int], scored: list[int]) -> np.ndarray:
    """Return the inner products of the unit gradients at two lists of places, ``[asked, scored]`` float64."""
    wanted, parts = np.asarray(asked), []
    for rows, block in teacher.blocks():
        inside = wanted[(wanted >= rows.start) & (wanted < rows.start + len(block))]
        parts.append(block[inside - rows.start].reshape(len(inside), -1))
    left, found = np.concatenate(parts), np.empty((len(asked), len(teacher.ids)), dtype=np.float32)
    for rows, products in teacher.products(left):
        found[:, rows] = products
    return found[:, scored].astype(np.float64)
