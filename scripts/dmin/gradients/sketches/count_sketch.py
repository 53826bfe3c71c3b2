"""DMin's gradient compression as a balanced count sketch."""

from __future__ import annotations

from typing import Literal, Protocol

import torch
from torch import Tensor

from dmin.gradients.sketches.permutation import PermutationCells
from dmin.gradients.sketches.rolled import RolledCells
from dmin.runtime.errors import UserError

SketchKind = Literal["permutation", "rolled"]


class RunningSums(Protocol):
    """The sketch of a batch while its coordinates arrive."""

    def add(self, offset: int, values: Tensor) -> None:
        """Add ``values [batch, n]`` fp32, the coordinates ``offset ... offset + n`` of each row."""

    def collect(self) -> Tensor:
        """Return the sketches ``[batch, width]`` fp32 of what has been added."""


class _Cells(Protocol):
    def new_sums(self, batch: int) -> RunningSums: ...

    def bucket(self) -> Tensor: ...

    def sign(self) -> Tensor: ...


class CountSketch:
    """A fixed linear map from P coordinates to ``width`` cells: every coordinate adds, with its sign, to one cell.

    Dot products survive: ``E<C(x), C(y)> = <x, y>`` over seeds, with standard deviation about ``1 / sqrt(width)`` for
    unit vectors. Every cell gets the same number of coordinates of the vector zero-padded to a multiple of ``width``.

    ``kind="permutation"`` is the paper's map: with P' the padded length and one CPU generator seeded with ``seed``,
    ``permutation = randperm(P')``, then ``signs = randint(0, 2, P', int8) * 2 - 1``, and
    ``C(x) = (pad(x) * signs)[permutation].view(width, -1).sum(1)``. It keeps about 2 bytes per parameter.

    ``kind="rolled"`` cuts the padded vector into rows of ``width``, gives each row a random sign and its own cyclic
    shift, gives each column a random sign, adds the rows and permutes the cells. It reads the vector in order and
    keeps a few bytes per row and cell.

    Source: DMin, gradient compression.
    """

    def __init__(
        self,
        parameter_count: int,
        width: int,
        seed: int,
        device: torch.device | str = "cpu",
        kind: SketchKind = "permutation",
    ):
        """Draw the map on the CPU, so that it is the same on every device.

        Raises:
            UserError: ``width`` is not positive or exceeds ``parameter_count``.
        """
        if width < 1:
            raise UserError(f"cache_dim {width} is not positive: choose a power of two such as 4096.")
        if width > parameter_count:
            raise UserError(
                f"cache_dim {width} is larger than the {parameter_count} selected parameters: lower cache_dim or "
                "select more parameters."
            )
        self.parameter_count = parameter_count
        self.width = width
        self.seed = seed
        self.kind = kind
        self.device = torch.device(device)
        generator = torch.Generator("cpu").manual_seed(seed)
        make = PermutationCells if kind == "permutation" else RolledCells
        self._cells: _Cells = make(parameter_count, width, generator, self.device)

    @property
    def bucket(self) -> Tensor:
        """Cell that each coordinate adds to, ``[P]`` int64 in ``[0, width)``; built on request."""
        return self._cells.bucket()

    @property
    def sign(self) -> Tensor:
        """Sign of each coordinate, ``[P]`` fp32, -1 or 1; built on request."""
        return self._cells.sign()

    def apply(self, flat: Tensor) -> Tensor:
        """Return the sketches ``[n, width]`` fp32 of the rows of ``flat [n, P]``, not normalised."""
        sums = self.new_sums(flat.shape[0])
        sums.add(0, flat.to(device=self.device, dtype=torch.float32))
        return sums.collect()

    def new_sums(self, batch: int) -> RunningSums:
        """Return empty running sums for ``batch`` rows."""
        return self._cells.new_sums(batch)
