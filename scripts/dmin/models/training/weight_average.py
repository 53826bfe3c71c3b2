"""Exponential moving average of trained weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch


class WeightAverage:
    """Moving average of the tensors ``trained``; with ``decay`` None there is none, and nothing is kept.

    After step s (from 0) the decay is ``min(decay, (1 + s) / (10 + s))``, so that early weights are soon forgotten.
    """

    def __init__(self, trained: Mapping[str, torch.Tensor], decay: float | None) -> None:
        self._trained, self._decay = trained, decay
        kept = {} if decay is None else trained
        self.tensors = {f"average/{name}": value.detach().clone() for name, value in kept.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take the weights after ``step`` into the average."""
        if self._decay is not None:
            decay = min(self._decay, (1 + step) / (10 + step))
            torch._foreach_lerp_(list(self.tensors.values()), list(self._trained.values()), 1 - decay)

    @torch.no_grad()
    def apply(self) -> None:
        """Replace the trained weights by their average."""
        if self._decay is not None:
            for average, trained in zip(self.tensors.values(), self._trained.values(), strict=True):
                trained.copy_(average)
