"""Per-sample gradients of the scale and shift of normalisation layers."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from dmin.gradients.layers.product import widen
from dmin.gradients.layers.workspace import Workspace


def group_norm_gradients(
    module: nn.GroupNorm, activation: Tensor, gradient: Tensor, wanted: Collection[str], workspace: Workspace
) -> Iterator[tuple[str, Tensor]]:
    """Yield ``(local name, [B, C])`` of an ``nn.GroupNorm``; ``activation`` and ``gradient`` are ``[B, C, ...]``."""
    gradient = widen(gradient).flatten(2) if gradient.dim() > 2 else widen(gradient).unsqueeze(2)
    if "weight" in wanted:
        normal = functional.group_norm(widen(activation), module.num_groups, eps=module.eps)
        yield "weight", normal.view_as(gradient).mul_(gradient).sum(2)
    if "bias" in wanted:
        yield "bias", gradient.sum(2)


def layer_norm_gradients(
    module: nn.LayerNorm, activation: Tensor, gradient: Tensor, wanted: Collection[str], workspace: Workspace
) -> Iterator[tuple[str, Tensor]]:
    """Yield ``(local name, [B, numel])`` of an ``nn.LayerNorm``; both tensors are ``[B, ..., *normalized_shape]``."""
    shape = tuple(module.normalized_shape)
    normal = functional.layer_norm(widen(activation), shape, eps=module.eps) if "weight" in wanted else None
    yield from _scale_and_shift(normal, gradient, len(shape), wanted)


def rms_norm_gradients(
    module: nn.Module, activation: Tensor, gradient: Tensor, wanted: Collection[str], workspace: Workspace
) -> Iterator[tuple[str, Tensor]]:
    """Yield ``(local name, [B, numel])`` of a root-mean-square norm over the axes that its weight spans.

    ``activation`` and ``gradient`` are ``[B, ..., *weight.shape]``.
    """
    weight = module.get_parameter("weight")
    axes = tuple(range(-weight.dim(), 0))
    epsilon = getattr(module, "variance_epsilon", None) or getattr(module, "eps", None)
    if epsilon is None:
        epsilon = torch.finfo(activation.dtype).eps
    normal = None
    if "weight" in wanted:
        values = widen(activation)
        # The norms of diffusers and transformers take the mean square in fp32 whatever the input.
        squares = values.square() if isinstance(module, nn.RMSNorm) else values.float().square()
        normal = values * torch.rsqrt(squares.mean(axes, keepdim=True) + epsilon)
    yield from _scale_and_shift(normal, gradient, weight.dim(), wanted)


def _scale_and_shift(
    normal: Tensor | None, gradient: Tensor, rank: int, wanted: Collection[str]
) -> Iterator[tuple[str, Tensor]]:
    batch = gradient.shape[0]
    shape = (batch, -1, *gradient.shape[gradient.dim() - rank :])
    gradient = widen(gradient).reshape(shape)
    if normal is not None:
        yield "weight", (normal.reshape(shape) * gradient).sum(1).reshape(batch, -1)
    if "bias" in wanted:
        yield "bias", gradient.sum(1).reshape(batch, -1)
