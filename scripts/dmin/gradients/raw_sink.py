"""Whole per-sample gradients, for adapters small enough to keep them."""

from __future__ import annotations

import torch
from torch import Tensor


class RawSink:
    """Keeps the flat gradient of every row.

    ``gradient [batch, P]`` is complete after the capture, in the units of the loss, not normalised.
    """

    def __init__(
        self, parameter_count: int, batch: int, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ):
        self.gradient = torch.zeros(batch, parameter_count, device=device, dtype=dtype)

    def add(self, offset: int, gradient: Tensor) -> None:
        """Take the gradient ``[batch, numel]`` of coordinates ``offset ... offset + numel`` of the flat vector."""
        self.gradient[:, offset : offset + gradient.shape[1]] = gradient
