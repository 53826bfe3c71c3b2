"""The product behind every matrix-shaped per-sample gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from dmin.gradients.layers.workspace import Workspace

_HALVES = (torch.float16, torch.bfloat16)


def widen(tensor: Tensor) -> Tensor:
    """Return ``tensor`` in fp32 where it is half precision, unchanged otherwise."""
    return tensor.float() if tensor.dtype in _HALVES else tensor


def per_sample_product(gradient: Tensor, activation: Tensor, workspace: Workspace) -> Tensor:
    """Return ``gradient[b].T @ activation[b]`` for every sample.

    ``gradient [B, S, O]`` and ``activation [B, S, I]`` give ``[B, O, I]``, computed and kept in fp32 at least.
    The result lives in ``workspace``.
    """
    batch, positions, outputs = gradient.shape
    shape = (batch, outputs, activation.shape[2])
    if gradient.is_cuda and gradient.dtype in _HALVES and positions > 1:
        # Half-precision inputs with a single-precision result keep the tensor cores and lose nothing in the sum.
        return torch.bmm(gradient.mT, activation.to(gradient.dtype), out_dtype=torch.float32)
    gradient, activation = widen(gradient), widen(activation)
    dtype = torch.promote_types(gradient.dtype, activation.dtype)
    gradient, activation = gradient.to(dtype), activation.to(dtype)
    result = workspace.take(shape, gradient)
    if positions == 1:
        return torch.mul(gradient.mT, activation, out=result)
    return torch.bmm(gradient.mT, activation, out=result)
