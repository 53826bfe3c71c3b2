"""Latents of samples of several shapes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import torch


@dataclass(frozen=True)
class ShapedLatents:
    """Latents of N samples of several shapes.

    Attributes:
        parts: the latents of each shape, in the order of the samples, each ``[n, c, h, w]``.
        kinds: which part each sample is in, int64 ``[N]``.
    """

    parts: Sequence[torch.Tensor]
    kinds: torch.Tensor

    def __len__(self) -> int:
        return len(self.kinds)

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """The shape ``(c, h, w)`` of each part."""
        return [tuple(part.shape[1:]) for part in self.parts]

    def at(self, places: torch.Tensor) -> torch.Tensor:
        """Return the latents ``[len(places), c, h, w]`` of samples of one shape.

        Raises:
            ValueError: the samples have several shapes.
        """
        kinds = self.kinds[places]
        kind = int(kinds[0])
        if not bool((kinds == kind).all()):
            raise ValueError("the samples have latents of several shapes")
        # Where each sample stands among those of its shape.
        within = (self.kinds == kind).cumsum(0) - 1
        return self.parts[kind][within[places]]

    def take(self, places: torch.Tensor) -> Self:
        """Return the samples at ``places``, in that order."""
        kinds = self.kinds[places]
        parts = []
        for kind, part in enumerate(self.parts):
            own = places[kinds == kind]
            parts.append(self.at(own) if len(own) else part[:0])
        return type(self)(parts, kinds)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return what a file holds of them, by name."""
        return {"kinds": self.kinds, **{f"latents/{kind:04d}": part for kind, part in enumerate(self.parts)}}


def runs(kinds: Sequence[int]) -> Iterator[slice]:
    """Yield the ranges of neighbours of one kind, in order."""
    start = 0
    for stop in range(1, len(kinds) + 1):
        if stop == len(kinds) or kinds[stop] != kinds[start]:
            yield slice(start, stop)
            start = stop
