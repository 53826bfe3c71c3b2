"""A sketch for every parameter tensor, side by side: methods that solve per tensor need them apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dmin.gradients.sketches.count_sketch import CountSketch
from dmin.runtime.errors import UserError
from dmin.runtime.seeds import derive_seed

LEAST = 16


@dataclass(frozen=True)
class Block:
    """The cells ``start ... start + width`` that hold the tensor ``name`` of ``size`` parameters."""

    name: str
    start: int
    width: int
    size: int


class BlockSketch:
    """A linear map from P coordinates to ``width`` cells in which every tensor has cells of its own.

    Each tensor gets 16 cells, or as many as it has parameters, and the others in proportion to its size. A tensor
    with a cell for each parameter is kept as it is, a larger one by a :class:`CountSketch` of its own; cells that no
    tensor needs stay zero. Inner products survive tensor by tensor.
    """

    def __init__(self, sizes: Mapping[str, int], width: int, seed: int, device: torch.device | str = "cpu"):
        """Plan the cells of the tensors ``sizes``, in the order of the flat gradient.

        Raises:
            UserError: ``width`` is too small for the number of tensors.
        """
        needed = sum(min(LEAST, size) for size in sizes.values())
        if width < needed:
            raise UserError(
                f"gradients.block_dim {width} is too small for {len(sizes)} tensors; set it to at least {needed}."
            )
        self.parameter_count = sum(sizes.values())
        self.width = width
        self.device = torch.device(device)
        spare, large = width - needed, max(1, self.parameter_count - needed)
        self.blocks: list[Block] = []
        self._tensors: dict[int, tuple[Block, CountSketch | None]] = {}
        offset = start = 0
        for name, size in sizes.items():
            least = min(LEAST, size)
            block = Block(name, start, min(size, least + spare * (size - least) // large), size)
            sketch = None
            if block.width < size:
                sketch = CountSketch(size, block.width, derive_seed(seed, "block", name), device)
            self.blocks.append(block)
            self._tensors[offset] = (block, sketch)
            offset, start = offset + size, start + block.width

    def new_sums(self, batch: int) -> BlockSums:
        """Return empty running sums for ``batch`` rows."""
        return BlockSums(self._tensors, torch.zeros(batch, self.width, device=self.device))


class BlockSums:
    """Running sums ``[batch, width]``; whole tensors arrive, each once."""

    def __init__(self, tensors: Mapping[int, tuple[Block, CountSketch | None]], totals: Tensor):
        self._tensors = tensors
        self._totals = totals

    def add(self, offset: int, values: Tensor) -> None:
        """Add the tensor ``values [batch, size]`` that starts at coordinate ``offset``."""
        block, sketch = self._tensors[offset]
        cells = values if sketch is None else sketch.apply(values)
        self._totals[:, block.start : block.start + block.width] += cells

    def collect(self) -> Tensor:
        """Return the sketches ``[batch, width]`` fp32 of what has been added."""
        return self._totals
