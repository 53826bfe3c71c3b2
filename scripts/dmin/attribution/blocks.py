"""Gradients of one parameter tensor at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dmin.attribution.gradient_rows import GradientRows, require_equal_settings
from dmin.attribution.settings import damping
from dmin.attribution.vectors import products
from dmin.runtime.errors import UserError
from dmin.settings.runs import Options


@dataclass(frozen=True)
class TensorProducts:
    """Inner products of the gradients of one tensor, timesteps concatenated, in float64.

    Attributes:
        name: the tensor.
        cross: ``A = V G^T [queries, train]``.
        kernel: ``K = G G^T [train, train]``.
        penalty: the damping ``lambda`` of this tensor.
    """

    name: str
    cross: np.ndarray
    kernel: np.ndarray
    penalty: float


def tensor_products(queries: GradientRows, train: GradientRows, options: Options) -> Iterator[TensorProducts]:
    """Yield the products of every tensor whose training gradients are not all zero.

    ``lambda`` is ``options["damping"]`` times the mean square of an element of the tensor's training gradients.

    Raises:
        UserError: the caches were not made per tensor or under different settings, the damping is out of range, or a
            gradient is not finite.

    Source: DataInf, the choice of lambda.
    """
    require_equal_settings(queries, train)
    if "blocks" not in train.metadata:
        raise UserError("The gradient cache holds no sketch per tensor; score this method from the cache loss_blocks.")
    multiple = damping(options)
    for name, start, width, size in train.metadata["blocks"]:
        rows = train.columns(start, width)
        kernel = products(rows, rows)
        if not np.isfinite(kernel).all():
            raise UserError(
                f"The training gradients of tensor '{name}' are not finite; check the gradient cache's log."
            )
        steps = len(train.metadata["timesteps"])
        penalty = multiple * float(np.trace(kernel)) / (len(kernel) * steps * size)
        if penalty > 0:
            yield TensorProducts(name, products(queries.columns(start, width), rows), kernel, penalty)
