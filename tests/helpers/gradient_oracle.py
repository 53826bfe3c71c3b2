"""What per-sample gradients are checked against: one sample at a time through autograd."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from dmin.gradients.engine import PerSampleGradients
from dmin.gradients.raw_sink import RawSink
from dmin.gradients.selection import select_parameters

Losses = Callable[[nn.Module], Tensor]


def captured(model: nn.Module, selection: str, losses: Losses, batch: int) -> Tensor:
    """Return the flat per-row gradients ``[batch, P]`` of the engine."""
    engine = PerSampleGradients(model, select_parameters(model, selection))
    sink = RawSink(engine.parameter_count, batch, dtype=torch.float64)
    with engine.capture(batch, sink):
        losses(model).sum().backward()
    return sink.gradient


def expected(model: nn.Module, selection: str, losses: Losses, batch: int) -> Tensor:
    """Return the flat per-row gradients ``[batch, P]`` of autograd."""
    parameters = list(select_parameters(model, selection).values())
    for parameter in parameters:
        parameter.requires_grad_(True)
    rows = []
    for row in range(batch):
        found = torch.autograd.grad(losses(model)[row], parameters, allow_unused=True)
        flat = [torch.zeros_like(p) if g is None else g.to_dense() for p, g in zip(parameters, found, strict=True)]
        rows.append(torch.cat([g.reshape(-1).double() for g in flat]))
    return torch.stack(rows)


def worst_relative_error(found: Tensor, reference: Tensor) -> float:
    """Return the largest relative L2 error over rows, and over the tensors of a row as one vector."""
    error = torch.linalg.vector_norm(found - reference, dim=1)
    return float((error / torch.linalg.vector_norm(reference, dim=1)).max())


def check(model: nn.Module, losses: Losses, batch: int, tolerance: float = 1e-10, selection: str = "all") -> None:
    """Assert that the engine agrees with autograd."""
    reference = expected(model, selection, losses, batch)
    assert float(torch.linalg.vector_norm(reference, dim=1).min()) > 0
    assert worst_relative_error(captured(model, selection, losses, batch), reference) <= tolerance
