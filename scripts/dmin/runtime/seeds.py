"""Deterministic seeds derived from names instead of from order."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def derive_seed(seed: int, *parts: str | int) -> int:
    """Derive a seed in ``[0, 2**63)`` from a root seed and the names of what it is for.

    The result depends only on its arguments, so a sample keeps its seed whatever the batch size, shard size,
    worker count or row order.
    """
    text = "\x1f".join([str(seed), *map(str, parts)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def derive_generator(seed: int, *parts: str | int) -> torch.Generator:
    """Return a CPU generator seeded by :func:`derive_seed`; drawing on CPU keeps results independent of the GPU."""
    import torch  # here, so that jobs without tensors start fast

    return torch.Generator("cpu").manual_seed(derive_seed(seed, *parts))
