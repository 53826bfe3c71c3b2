"""Numbers that are numbers."""

from __future__ import annotations

from collections.abc import Iterable

import torch


def first_not_finite(tensors: Iterable[tuple[str, torch.Tensor]]) -> str | None:
    """Return the name of the first floating-point tensor that holds NaN or infinity, or None where none does."""
    for name, value in tensors:
        if value.is_floating_point() and value.numel() and not is_finite(value):
            return name
    return None


def is_finite(value: torch.Tensor) -> bool:
    """Tell whether a tensor that is not empty holds neither NaN nor infinity; nothing of its size is allocated."""
    return bool(torch.isfinite(torch.stack(torch.aminmax(value))).all())


def finite_rows(values: torch.Tensor) -> torch.Tensor:
    """Tell which rows of ``values [N, ...]`` are finite throughout, bool ``[N]``."""
    return torch.isfinite(values).unsqueeze(-1).flatten(1).all(1)
