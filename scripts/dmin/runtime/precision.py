"""The number format of the forward and backward pass, and attention that gives the same answer twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

FORMATS = {"bfloat16": torch.bfloat16, "float16": torch.float16}

# float16 holds nothing below 6e-8, and the loss is a mean over thousands of elements.
LOSS_SCALE = {"float32": 1.0, "bfloat16": 1.0, "float16": 2.0**12}


def autocast(precision: str, device: torch.device) -> AbstractContextManager[None]:
    """Return the autocast context of ``float32`` (none), ``bfloat16`` or ``float16``; weights stay in float32."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=FORMATS[precision])


@contextmanager
def deterministic_attention(device: torch.device) -> Iterator[None]:
    """Attend through kernels whose backward pass is deterministic.

    On a GPU these are flash attention in its deterministic mode, where it applies, and the plain one; the
    memory-efficient kernel adds in random order. On the CPU every kernel qualifies.
    """
    if device.type != "cuda":
        yield
        return
    before = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]):
            yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_only)
