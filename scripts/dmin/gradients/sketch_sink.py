"""Sketches and norms of per-sample gradients, built during backward."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from dmin.gradients.raw_sink import RawSink
from dmin.gradients.sketches.count_sketch import RunningSums


class Sketch(Protocol):
    """A linear map of gradients that arrive tensor by tensor."""

    parameter_count: int
    device: torch.device

    def new_sums(self, batch: int) -> RunningSums:
        """Return empty running sums for ``batch`` rows."""


class SketchSink:
    """Receives the gradient tensor by tensor and keeps ``[batch, cache_dim]`` sums and one squared norm per row."""

    def __init__(self, sketch: Sketch, batch: int, keep_raw: bool = False):
        """Prepare for one capture of ``batch`` rows; ``keep_raw`` also keeps the whole gradient ``[batch, P]``."""
        self._sums = sketch.new_sums(batch)
        self._norms = [torch.zeros(batch, device=sketch.device)]
        self._raw = RawSink(sketch.parameter_count, batch, sketch.device) if keep_raw else None

    def add(self, offset: int, gradient: Tensor) -> None:
        """Take the gradient ``[batch, numel]`` of coordinates ``offset ... offset + numel`` of the flat vector."""
        self._sums.add(offset, gradient.float())
        self._norms.append(torch.linalg.vector_norm(gradient, dim=1))
        if self._raw is not None:
            self._raw.add(offset, gradient)

    def finish(self) -> tuple[Tensor, Tensor]:
        """Return the sketch of the unit gradient ``[batch, width]`` fp32 and the gradient's norm ``[batch]`` fp32.

        The norm is that of the gradient before sketching, so the sketch's own length is only close to 1. A row with a
        zero gradient has a zero sketch and norm 0; a non-finite gradient has a non-finite norm.

        Source: DMin, gradient compression (normalised before compression).
        """
        norm = self._norm()
        return _unit(self._sums.collect(), norm), norm.float()

    def unit_gradient(self) -> Tensor:
        """Return the unit gradients ``[batch, P]`` fp32, zero for a zero gradient.

        Raises:
            ValueError: the sink was made without ``keep_raw``.
        """
        if self._raw is None:
            raise ValueError("the sink was made without keep_raw")
        return _unit(self._raw.gradient, self._norm())

    def _norm(self) -> Tensor:
        return torch.linalg.vector_norm(torch.stack(self._norms).double(), dim=0)


def _unit(rows: Tensor, norm: Tensor) -> Tensor:
    inverse = torch.where(norm == 0, norm, norm.reciprocal())
    return rows * inverse.float().unsqueeze(1)
