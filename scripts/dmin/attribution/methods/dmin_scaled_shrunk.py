"""Scaled DMin with what most training gradients share shrunk in the queries."""

from __future__ import annotations

import numpy as np

from dmin.attribution.gradient_rows import GradientRows, require_equal_settings
from dmin.attribution.vectors import products
from dmin.settings.runs import Options

METHOD = {
    "inputs": "gradients",
    "summary": "`dmin_scaled` with the directions that most training gradients share shrunk in the query.",
    "score": "sum over t of `<R u_q, u_i>_t`, `R = I - V diag(e / (e + c tr)) V^T`, `V, e` the largest eigenvectors",
    "range": "[-T, T], up to the sketch's error",
    "label": "DMin, scaled, shrunk",
    "look": ("#D55E00", "P", "dotted"),
    "caches": ("loss_scaled", "loss_scaled"),
    "linear": ("queries",),
    "options": ("shrink_rank", "shrink_samples", "shrink_ridge"),
}


def scores(queries: GradientRows, train: GradientRows, options: Options) -> np.ndarray:
    """Return ``<R u_q, u_i>``, float32 ``[queries, train]`` in [-T, T], a sample's timesteps one after the other.

    ``R`` is the inverse of ``M + lambda I``, times lambda, where ``M`` is the second moment of the unit gradients of
    ``shrink_samples`` evenly spread training samples, cut to its ``shrink_rank`` largest eigenvalues, and ``lambda`` is
    ``shrink_ridge`` times its trace. The training side stays as it is stored, so a sample costs no further byte. Ours.

    Raises:
        UserError: the two sides were cached under different settings.
    """
    require_equal_settings(queries, train)
    left = queries.all().reshape(len(queries.ids), -1)
    sample = _spread(train, min(options["shrink_samples"], len(train.ids)))
    left = shrunk(left, sample, options["shrink_rank"], options["shrink_ridge"])
    found = np.empty((len(left), len(train.ids)), dtype=np.float32)
    for rows, part in train.products(left):
        found[:, rows] = part
    return found


def shrunk(rows: np.ndarray, sample: np.ndarray, rank: int, ridge: float) -> np.ndarray:
    """Return ``R x`` of each row, float32 ``[m, width]``; ``sample [n, width]`` gives the second moment.

    The eigenvectors are those of the Gram matrix ``[n, n]``, lifted by the sample: nothing ``[width, width]`` is made.
    """
    values, vectors = np.linalg.eigh(products(sample, sample) / len(sample))
    penalty = ridge * float(values.sum())
    values, vectors = values[::-1][:rank], vectors[:, ::-1][:, :rank]
    kept = values > values[0] * 1e-12
    values, lift = values[kept], vectors[:, kept] / np.sqrt(values[kept] * len(sample))
    taken = (products(rows, sample) @ lift) * (values / (values + penalty))
    shrunken: np.ndarray = rows - (taken @ lift.T).astype(np.float32) @ sample
    return shrunken


def _spread(train: GradientRows, count: int) -> np.ndarray:
    """Return the gradients of ``count`` evenly spread samples, float32 ``[count, T * width]``."""
    places = np.arange(count) * len(train.ids) // count
    parts = []
    for rows, block in train.blocks():
        inside = places[(places >= rows.start) & (places < rows.start + len(block))]
        parts.append(block[inside - rows.start].reshape(len(inside), -1))
    return np.concatenate(parts)
