"""Gradients averaged over the noises of a row before anything else sees them."""

from __future__ import annotations

from torch import Tensor

from dmin.gradients.capture import GradientSink


class MeanSink:
    """Passes the mean of every ``draws`` consecutive rows on to another sink.

    The norm that the other sink takes is then that of the averaged gradient, exactly.
    """

    def __init__(self, sink: GradientSink, draws: int) -> None:
        self._sink = sink
        self._draws = draws

    def add(self, offset: int, gradient: Tensor) -> None:
        """Take the gradient ``[rows * draws, numel]`` of one tensor; the draws of a row are neighbours."""
        self._sink.add(offset, gradient.unflatten(0, (-1, self._draws)).mean(1))
