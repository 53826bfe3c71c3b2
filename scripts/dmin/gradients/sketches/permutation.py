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
        # Signed integers stand in for unsigned ones, which cannot be scattered; reading masks the sign away.
        stored = torch.int16 if width <= 2**16 else torch.int32
        self._mask = 2**16 - 1 if width <= 2**16 else 2**32 - 1
        cells = torch.empty(padded, dtype=stored)
        for start in range(0, padded, _DRAWN):
            place = torch.arange(start, min(start + _DRAWN, padded))
            # Writing through the permutation inverts it without an inverse of eight bytes per coordinate.
            cells[permutation[place]] = (place // (padded // width)).to(stored)
        self._cells = cells[:parameter_count].clone().to(device)
        self._negative = _pack(negative[:parameter_count]).to(device)
        self._count = parameter_count
        self.width = width
        self.device = device

    def new_sums(self, batch: int) -> PermutationSums:
        """Return empty running sums for ``batch`` rows."""
        return PermutationSums(self, batch)

    def bucket(self) -> Tensor:
        """Return the cell of every coordinate, ``[P]`` int64."""
        return self.bucket_of(slice(0, self._count))

    def sign(self) -> Tensor:
        """Return the sign of every coordinate, ``[P]`` fp32."""
        return self.sign_of(slice(0, self._count))

    def bucket_of(self, coordinates: slice | Tensor) -> Tensor:
        """Return the cells of a range of coordinates, or of the listed ones."""
        return self._cells[coordinates].to(torch.int64).bitwise_and_(self._mask)

    def sign_of(self, coordinates: slice | Tensor) -> Tensor:
        """Return the signs of a range of coordinates, or of the listed ones."""
        if isinstance(coordinates, Tensor):
            bits = (self._negative[coordinates >> 3] >> (coordinates & 7)) & 1
        else:
            first = coordinates.start // 8
            packed = self._negative[first : (coordinates.stop + 7) // 8]
            places = torch.arange(8, device=packed.device, dtype=torch.uint8)
            bits = ((packed.unsqueeze(1) >> places) & 1).view(-1)
            bits = bits[coordinates.start - 8 * first : coordinates.stop - 8 * first]
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
            self._ranges.append((offset, offset + count))
            self._filled += count
            return
        # Signed values are a copy; a bounded one stays in the processor's cache.
        step = count if values.is_cuda else max(_STAGED, _STEP // max(1, batch))
        for start in range(0, count, step):
            stop = min(start + step, count)
            place = slice(offset + start, offset + stop)
            self._scatter(self._cells.bucket_of(place), values[:, start:stop] * self._cells.sign_of(place))

    def collect(self) -> Tensor:
        """Return the sketch ``[batch, width]``; later additions go on in the same memory."""
        self._flush()
        return self._totals

    def _flush(self) -> None:
        if self._ranges:
            device = self._totals.device
            place = torch.cat([torch.arange(start, stop, device=device) for start, stop in self._ranges])
            signed = self._staged[:, : self._filled].mul_(self._cells.sign_of(place))
            self._scatter(self._cells.bucket_of(place), signed)
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
