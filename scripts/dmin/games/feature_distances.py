"""Distances between sets of images, on the features of an encoder."""

from __future__ import annotations

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import cdist

# Neighbours whose distance is the radius of an image's ball.
NEIGHBOURS = 3
# Rows that the measures on pairs take; the first, which are in no order of class.
MOST_PAIRED = 10_000
MOST_CLUSTERED = 5_000
_ROWS = 500


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Return the squared Fréchet distance of the Gaussians fitted to two sets of features, ``[n, d]`` and ``[m, d]``.

    The trace of the root of the product of the covariances A A' and B B' is the sum of the singular values of A' B, so
    that no root of a matrix is taken, and fewer images than features need no care.

    Source: Heusel et al. 2017, FID.
    """
    (mean, factor), (other_mean, other_factor) = _gaussian(first), _gaussian(second)
    cross = np.linalg.svd(factor.T @ other_factor, compute_uv=False).sum()
    squares = np.square(mean - other_mean).sum() + np.square(factor).sum() + np.square(other_factor).sum()
    return float(max(0.0, squares - 2 * cross))


def _gaussian(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean ``[d]`` and a factor ``[d, min(n, d)]`` of the covariance."""
    rows = features.astype(np.float64)
    mean = rows.mean(axis=0)
    centred = (rows - mean) / np.sqrt(len(rows) - 1)
    if len(rows) <= rows.shape[1]:
        return mean, centred.T
    values, vectors = np.linalg.eigh(centred.T @ centred)
    return mean, vectors * np.sqrt(np.maximum(values, 0))


def kernel_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Return the unbiased squared maximum mean discrepancy of two sets of features, under ``(x y / d + 1)^3``.

    Source: Binkowski et al. 2018, KID, on one block of at most 10,000 of each set.
    """
    x, y = (rows[:MOST_PAIRED].astype(np.float64) for rows in (first, second))
    within = []
    for rows in (x, y):
        kernel = _cubic(rows, rows)
        within.append((kernel.sum() - np.trace(kernel)) / (len(rows) * (len(rows) - 1)))
    return float(sum(within) - 2 * _cubic(x, y).mean())


def _cubic(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    kernel: np.ndarray = (first @ second.T / first.shape[1] + 1) ** 3
    return kernel


def covered_share(points: np.ndarray, by: np.ndarray) -> float:
    """Return the share of ``points [n, d]`` in a ball around one of ``by [m, d]`` that reaches its third neighbour.

    Of generated images by training images it is the precision, the other way round the recall.

    Source: Kynkäänniemi et al. 2019.
    """
    points, by = points[:MOST_PAIRED], by[:MOST_PAIRED]
    nearest = min(NEIGHBOURS, len(by) - 1)
    # The nearest of all is the image itself.
    radii = np.concatenate(
        [
            np.partition(cdist(by[row : row + _ROWS], by), nearest, axis=1)[:, nearest]
            for row in range(0, len(by), _ROWS)
        ]
    )
    inside = [(cdist(points[row : row + _ROWS], by) <= radii).any(axis=1) for row in range(0, len(points), _ROWS)]
    return float(np.concatenate(inside).mean())


def nearest_cluster(features: np.ndarray, train: np.ndarray, clusters: int) -> np.ndarray:
    """Return the cluster of training images whose mean each image is nearest to, ``[n]``.

    The clusters are Ward's, of the first 5,000 training images.
    """
    known = train[:MOST_CLUSTERED].astype(np.float64)
    labels = fcluster(linkage(known, "ward"), clusters, "maxclust")
    means = np.stack([known[labels == label].mean(axis=0) for label in np.unique(labels)])
    nearest: np.ndarray = cdist(features, means).argmin(axis=1)
    return nearest
