"""How fast gradients are sketched, against reading them once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dmin.gradients.sketches.count_sketch import CountSketch, SketchKind

_BLOCK = 2**20

Step = Callable[[], Tensor]


def sketch_steps(parameters: int, width: int, batch: int, device: torch.device) -> dict[str, Step]:
    """Return steps that each pass over ``batch`` gradients of ``parameters`` fp32 coordinates, tensor by tensor.

    The same block of random numbers stands for every tensor, so the step holds one block, not ``[batch, P]``.
    """
    block = torch.randn(batch, min(_BLOCK, parameters), device=device)
    starts = range(0, parameters, block.shape[1])

    def read() -> Tensor:
        total = torch.zeros(batch, device=device)
        for start in starts:
            total += block[:, : parameters - start].sum(1)
        return total

    def sketched(kind: SketchKind) -> Step:
        sketch = CountSketch(parameters, width, seed=0, device=device, kind=kind)

        def step() -> Tensor:
            sums = sketch.new_sums(batch)
            for start in starts:
                sums.add(start, block[:, : parameters - start])
            return sums.collect()

        return step

    def gathered() -> Step:
        padded = -(-parameters // width) * width
        permutation = torch.randperm(padded, device=device)
        signs = torch.randint(0, 2, (padded,), device=device, dtype=torch.int8) * 2 - 1
        row = torch.randn(padded, device=device)

        def step() -> Tensor:
            return torch.stack([(row * signs)[permutation].view(width, -1).sum(1) for _ in range(batch)])

        return step

    return {
        "read": read,
        "rolled": sketched("rolled"),
        "permutation": sketched("permutation"),
        "gather": gathered(),
    }
