"""Regions of images: parts of a loss, as masks over the cells of the latents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from dmin.models.encoded import EncodedSamples
from dmin.models.sealed_tensors import SealedTensors, write_tensors
from dmin.runtime.errors import UserError

# Left, top, right and bottom, each in 0..1 of the image's width or height.
Box = Sequence[float]


@dataclass(frozen=True)
class Regions:
    """The regions ``ids``, each of the sample in ``origins``, with ``masks [N, h, w]`` in 0..1."""

    ids: Sequence[str]
    origins: Sequence[str]
    masks: torch.Tensor

    def save(self, path: Path) -> None:
        """Write everything to one safetensors file."""
        write_tensors(path, {"ids": list(self.ids), "origins": list(self.origins)}, {"masks": self.masks})

    @classmethod
    def load(cls, path: Path, start: int = 0, stop: int | None = None) -> Regions:
        """Read rows ``start`` to ``stop`` of a file written by :meth:`save`.

        Raises:
            UserError: the file is torn or foreign.
        """
        with SealedTensors(path, "File of regions") as file:
            ids, origins = file.facts["ids"], file.facts["origins"]
            return cls(ids[start:stop], origins[start:stop], file.rows("masks", start, stop))

    def encoded(self, samples: Path) -> EncodedSamples:
        """Return the regions as samples, from the encoded samples that they are regions of.

        Raises:
            UserError: the file is torn, lacks a sample, or has latents of another shape than the masks.
        """
        whole = EncodedSamples.load_named(samples, self.origins)
        if whole.latents.shape[2:] != self.masks.shape[1:]:
            raise UserError(
                f"The regions have masks of {tuple(self.masks.shape[1:])} cells and '{samples}' has latents of "
                f"{tuple(whole.latents.shape[2:])}; delete the regions and run again."
            )
        taken = (self.ids, whole.latents, whole.conditioning, whole.unconditional)
        told = EncodedSamples(*taken, masks=self.masks, origins=self.origins, bucketed=whole.bucketed)
        return replace(told, tokens=whole.tokens)


def box_mask(box: Box, height: int, width: int) -> torch.Tensor:
    """Return what share of each of ``height`` x ``width`` cells a box covers, float32 ``[height, width]`` in 0..1."""
    left, top, right, bottom = box
    return torch.outer(_covered(top, bottom, height), _covered(left, right, width)).float()


def grid_masks(grid: int, height: int, width: int) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the name ``row,column`` and the mask of each field of a ``grid`` x ``grid`` grid, row by row from the top.

    The masks sum to 1 in every cell.

    Raises:
        UserError: the grid is finer than the cells.
    """
    if grid > min(height, width):
        raise UserError(
            f"maps.grid is {grid}, but the latents have {height} x {width} cells, which no grid can be finer than; "
            f"set it to at most {min(height, width)}."
        )
    for row in range(grid):
        for column in range(grid):
            box = (column / grid, row / grid, (column + 1) / grid, (row + 1) / grid)
            yield f"{row},{column}", box_mask(box, height, width)


def pooled_mask(pixels: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Return a mask of pixels ``[H, W]`` in 0..1 as means over ``height`` x ``width`` cells."""
    pooled: torch.Tensor = torch.nn.functional.adaptive_avg_pool2d(pixels[None].float(), (height, width))[0]
    return pooled


def _covered(start: float, stop: float, count: int) -> torch.Tensor:
    edges = torch.arange(count + 1, dtype=torch.float64)
    low, high = edges[:-1].clamp(min=start * count), edges[1:].clamp(max=stop * count)
    return (high - low).clamp(min=0)
