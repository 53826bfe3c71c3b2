"""The paper's sketch cells: one permutation and one sign per coordinate."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_DRAWN = 2**24
_STAGED = 2**13
_STEP = 2**20


class PermutationCells:
    """Cell and sign of every coordinate, in 2.125 bytes each (4.125 above a width of 65,536)."""

    def __init__(self, parameter_count: int, width: int, generator: torch.Generator, device: torch.device):
        padded = -(-parameter_count // width) * width
        permutation = torch.randperm(padded, generator=generator)
        negative = torch.randint(0, 2, (padded,), generator=generator, dtype=torch.int8) == 0
        # int16 stands in for uint16, which cannot be scattered: the bit patterns are the same.
        stored, shown = (torch.int16, torch.uint16) if width <= 2**16 else (torch.int32, torch.int32)
        cells = torch.empty(padded, dtype=stored)
        for start in range(0, padded, _DRAWN):
            place = torch.arange(start, min(start + _DRAWN, padded))
            # Writing through the permutation inverts it without an inverse of eight bytes per coordinate.
            cells[permutation[place]] = (place // (padded // width)).to(stored)
        self._cells = cells[:parameter_count].clone().view(shown).to(device)
        self._negative = _pack(negative[:parameter_count]).to(device)
        self._count = parameter_count
        self.width = width
        self.device = device

    def new_sums(self, batch: int) -> PermutationSums:
        """Return empty running sums for ``batch`` rows."""
        return PermutationSums(self, batch)

    def bucket(self) -> Tensor:
        """Return the cell of every coordinate, ``[P]`` int64."""
        return self.bucket_of(0, self._count)

    def sign(self) -> Tensor:
        """Return the sign of every coordinate, ``[P]`` fp32."""
        return self.sign_of(0, self._count)

    def bucket_of(self, offset: int, count: int) -> Tensor:
        """Return the cells of ``count`` coordinates from ``offset`` on."""
        return self._cells[offset : offset + count].to(torch.int64)

    def sign_of(self, offset: int, count: int) -> Tensor:
        """Return the signs of ``count`` coordinates from ``offset`` on."""
        first = offset // 8
        packed = self._negative[first : (offset + count + 7) // 8]
        places = torch.arange(8, device=packed.device, dtype=torch.uint8)
        bits = ((packed.unsqueeze(1) >> places) & 1).view(-1)[offset - 8 * first :][:count]
        return 1.0 - 2.0 * bits


class PermutationSums:
    """Running sums ``[batch, width]``.

    Tensors of few coordinates are staged side by side and scattered together: scattered one by one, each would fetch
    most cells of every row from memory.
    """

    def __init__(self, cells: PermutationCells, batch: int):
        self._cells = cells
        self._totals = torch.zeros(batch, cells.width, device=cells.device)
        self._staged = torch.empty(batch, _STAGED, device=cells.device)
        self._ranges: list[tuple[int, int]] = []
        self._filled = 0

    def add(self, offset: int, values: Tensor) -> None:
        """Add ``values [batch, n]``, the coordinates from ``offset`` on."""
        batch, count = values.shape
        if count <= _STAGED:
            if self._filled + count > _STAGED:
                self._flush()
            self._staged[:, self._filled : self._filled + count] = values
            self._ranges.append((offset, count))
            self._filled += count
            return
        # Signed values are a copy; a bounded one stays in the processor's cache.
        step = count if values.is_cuda else max(_STAGED, _STEP // max(1, batch))
        for start in range(0, count, step):
            part = values[:, start : start + step]
            place = (offset + start, part.shape[1])
            self._scatter(self._cells.bucket_of(*place), part * self._cells.sign_of(*place))

    def collect(self) -> Tensor:
        """Return the sketch ``[batch, width]``; later additions go on in the same memory."""
        self._flush()
        return self._totals

    def _flush(self) -> None:
        if self._ranges:
            buckets = torch.cat([self._cells.bucket_of(*place) for place in self._ranges])
            signs = torch.cat([self._cells.sign_of(*place) for place in self._ranges])
            self._scatter(buckets, self._staged[:, : self._filled].mul_(signs))
        self._ranges.clear()
        self._filled = 0

    def _scatter(self, buckets: Tensor, signed: Tensor) -> None:
        if signed.is_cuda:
            self._totals.index_add_(1, buckets, signed)
        else:
            self._totals.scatter_add_(1, buckets.expand_as(signed), signed)


def _pack(bits: Tensor) -> Tensor:
    padded = functional.pad(bits.to(torch.uint8), (0, -bits.numel() % 8)).view(-1, 8)
    packed = torch.zeros(padded.shape[0], dtype=torch.uint8)
    for place in range(8):
        packed |= padded[:, place] << place
    return packed
