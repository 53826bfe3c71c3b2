"""What the gradients say of every training image: neighbours, leverage, hubs, and what it does to held-out losses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dmin.attribution.gradient_rows import GradientRows
from dmin.attribution.methods.dmin import dmin_scores
from dmin.attribution.methods.dmin_kernel import unit_kernel
from dmin.attribution.ridge import RidgeKernel
from dmin.audit.neighbourhood import Neighbourhood, matrix_blocks, neighbourhood
from dmin.runtime.errors import UserError

# Training images whose products with each other are held: 32 N^2 bytes, with what the kernel's solution takes.
MOST_SAMPLES = 20_000


@dataclass(frozen=True)
class Asked:
    """What the queries say of some images, each ``[n]``.

    Attributes:
        hubs: queries in whose ``k`` highest-ranked training images it is, or would be.
        closest: the place of the query that it has the largest score for.
        score: that score, over the number of timesteps.
    """

    hubs: np.ndarray
    closest: np.ndarray
    score: np.ndarray


@dataclass(frozen=True)
class HeldOutInfluence:
    """The sum ``[N]`` of an image's influences on the losses of the test images of its subset, its standard error, and
    their number; above 0 where training on it lowers them. NaN where there are fewer than two."""

    total: np.ndarray
    error: np.ndarray
    images: np.ndarray


@dataclass(frozen=True)
class TrainInfluence:
    """What the gradients of the training images say of them; see :func:`train_influence`."""

    near: Neighbourhood
    leverage: np.ndarray
    kernel: RidgeKernel


def train_influence(train: GradientRows, subsets: Sequence[str], k: int, relative_lambda: float) -> TrainInfluence:
    """Return each training image's neighbours by influence and its leverage, ``[N]``.

    Similarities are those of unit gradients, averaged over timesteps, in -1..1 up to the sketch's error.

    Raises:
        UserError: there are more images than are compared with each other.
    """
    if len(train.ids) > MOST_SAMPLES:
        raise UserError(
            f"An audit compares at most {MOST_SAMPLES} training images with each other, and there are "
            f"{len(train.ids)}; audit a part of them."
        )
    products = unit_kernel(train)
    kernel = RidgeKernel(products)
    near = neighbourhood(matrix_blocks(products / train.shape[1]), subsets, subsets, k, same=True)
    return TrainInfluence(near, kernel.leverages(relative_lambda), kernel)


def held_out_influence(
    scores: np.ndarray, kernel: RidgeKernel, relative_lambda: float, subsets: tuple[Sequence[str], Sequence[str]]
) -> HeldOutInfluence:
    """Return what each training image does to the losses of the held-out images of its subset.

    The influence is that of the ridge kernel over the training images, ``A (K + lambda I)^-1``, which takes out what
    all gradients have in common: so it is below 0 for half of what has no effect.

    Args:
        scores: ``A``, the products of held-out images with training images, ``[m, N]``.
        subsets: of the held-out images, and of the training images.
    """
    solved = kernel.solve(scores, relative_lambda)
    held_out, train = (np.asarray(names) for names in subsets)
    total, error = np.full(len(train), np.nan), np.full(len(train), np.nan)
    counts = np.zeros(len(train), dtype=int)
    for name in sorted(set(train)):
        rows, places = np.flatnonzero(held_out == name), np.flatnonzero(train == name)
        counts[places] = len(rows)
        if len(rows) > 1:
            mine = solved[np.ix_(rows, places)]
            total[places] = mine.sum(axis=0)
            error[places] = mine.std(axis=0, ddof=1) * np.sqrt(len(rows))
    return HeldOutInfluence(total, error, counts)


def asked(scores: np.ndarray, thresholds: np.ndarray, timesteps: int) -> Asked:
    """Return what queries say of images from their ``scores [queries, n]``.

    Args:
        thresholds: the score of each query at which a training image is among its first k, ``[queries]``.
    """
    return Asked((scores >= thresholds[:, None]).sum(axis=0), scores.argmax(axis=0), scores.max(axis=0) / timesteps)


def kth_scores(scores: np.ndarray, k: int) -> np.ndarray:
    """Return the k-th largest of each row of ``scores [queries, N]``, the smallest where there are fewer."""
    k = min(k, scores.shape[1])
    values: np.ndarray = -np.partition(-scores, k - 1, axis=1)[:, k - 1]
    return values


def query_scores(queries: GradientRows, rows: GradientRows) -> np.ndarray:
    """Return DMin's scores of images, float32 ``[queries, n]``.

    Raises:
        UserError: the two were cached under different settings.
    """
    return dmin_scores(queries, rows, normalise=True)
