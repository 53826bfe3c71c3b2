"""Sketch cells that read the gradient in order: rows, cyclic shifts and signs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

_COORDINATES = 2**22


class Run(NamedTuple):
    """Coordinates of one row that add to contiguous cells."""

    row: int
    column: int
    cell: int
    start: int
    """Place of the first coordinate in the slice that was cut."""
    length: int


class RolledCells:
    """Row ``r`` of ``width`` coordinates is added with its sign at a cyclic shift of its own.

    Shifts are drawn without repetition over each cycle of ``width`` rows and each cycle has its own column signs, so
    two rows never coincide as a whole. The final permutation of cells keeps neighbouring coordinates apart when the
    sketch is folded: large gradient entries come in clusters.
    """

    def __init__(self, parameter_count: int, width: int, generator: torch.Generator, device: torch.device):
        rows = -(-parameter_count // width)
        cycles = -(-rows // width)
        shifts = [torch.randperm(width, generator=generator) for _ in range(cycles)]
        self._row_shifts = torch.cat(shifts)[:rows].to(device)
        self._shifts: list[int] = self._row_shifts.tolist()
        self._signs = (torch.randint(0, 2, (rows,), generator=generator) * 2 - 1).to(device)
        self.row_signs: list[int] = self._signs.tolist()
        self._column_signs = (torch.randint(0, 2, (cycles, width), generator=generator) * 2.0 - 1.0).to(device)
        self.order = torch.randperm(width, generator=generator).to(device)
        self._count = parameter_count
        self.width = width
        self.device = device

    def new_sums(self, batch: int) -> RolledSums:
        """Return empty running sums for ``batch`` rows."""
        return RolledSums(self, batch)

    def bucket(self) -> Tensor:
        """Return the cell of every coordinate, ``[P]`` int64."""
        place = torch.empty_like(self.order)
        place[self.order] = torch.arange(self.width, device=self.device)
        return torch.cat([place[run.cell : run.cell + run.length] for run in self.runs(0, self._count)])

    def sign(self) -> Tensor:
        """Return the sign of every coordinate, ``[P]`` fp32."""
        return torch.cat([self.signs_of(run) * self.row_signs[run.row] for run in self.runs(0, self._count)])

    def signs_of(self, run: Run) -> Tensor:
        """Return the column signs of a run."""
        return self._column_signs[run.row // self.width, run.column : run.column + run.length]

    def rows_of(self, first: int, last: int) -> tuple[Tensor, Tensor]:
        """Return, for rows ``first ... last``, the column that falls on each cell and its sign, ``[rows, width]``."""
        rows = torch.arange(first, last, device=self.device)
        columns = torch.arange(self.width, device=self.device) - self._row_shifts[rows].unsqueeze(1)
        columns = columns.remainder_(self.width)
        signs = self._column_signs[(rows // self.width).unsqueeze(1), columns]
        return columns, signs.mul_(self._signs[rows].unsqueeze(1))

    def runs(self, offset: int, count: int) -> Iterator[Run]:
        """Cut ``count`` coordinates from ``offset`` on into runs whose cells are contiguous."""
        start = 0
        while start < count:
            row, column = divmod(offset + start, self.width)
            cell = (column + self._shifts[row]) % self.width
            length = min(count - start, self.width - column, self.width - cell)
            yield Run(row, column, cell, start, length)
            start += length


class RolledSums:
    """Running sums ``[batch, width]``, cells in the order of rows."""

    def __init__(self, cells: RolledCells, batch: int):
        self._cells = cells
        self._totals = torch.zeros(batch, cells.width, device=cells.device)

    def add(self, offset: int, values: Tensor) -> None:
        """Add ``values [batch, n]``, the coordinates from ``offset`` on."""
        width, stop = self._cells.width, offset + values.shape[1]
        first, last = -(-offset // width), stop // width
        if values.is_cuda and last - first > 1:
            # One kernel launch per row would take longer than the sums themselves.
            self._add_runs(offset, values[:, : first * width - offset])
            self._add_rows(first, values[:, first * width - offset : last * width - offset])
            self._add_runs(last * width, values[:, last * width - offset :])
        else:
            self._add_runs(offset, values)

    def _add_runs(self, offset: int, values: Tensor) -> None:
        for run in self._cells.runs(offset, values.shape[1]):
            target = self._totals[:, run.cell : run.cell + run.length]
            part = values[:, run.start : run.start + run.length]
            target.addcmul_(part, self._cells.signs_of(run), value=self._cells.row_signs[run.row])

    def _add_rows(self, first: int, values: Tensor) -> None:
        rows = values.unflatten(1, (-1, self._cells.width))
        step = max(1, _COORDINATES // self._cells.width)
        for start in range(0, rows.shape[1], step):
            part = rows[:, start : start + step]
            columns, signs = self._cells.rows_of(first + start, first + start + part.shape[1])
            self._totals += part.gather(2, columns.expand_as(part)).mul_(signs).sum(1)

    def collect(self) -> Tensor:
        """Return the sketch ``[batch, width]``."""
        return self._totals[:, self._cells.order]
