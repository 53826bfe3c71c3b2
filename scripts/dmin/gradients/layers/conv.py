"""Per-sample gradients of convolutions."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from dmin.gradients.layers.product import per_sample_product, widen
from dmin.gradients.layers.workspace import Workspace

_UNFOLDED_ELEMENTS = 64 * 2**20

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d


def conv_gradients(
    module: Convolution, activation: Tensor, gradient: Tensor, wanted: Collection[str], workspace: Workspace
) -> Iterator[tuple[str, Tensor]]:
    """Yield ``(local name, [B, numel])`` of a convolution of any stride, padding, dilation and grouping.

    ``activation [B, I, ...]`` is the recorded input, ``gradient [B, O, ...]`` the loss gradient of the output.
    """
    if "weight" in wanted:
        if _is_pointwise(module):
            product = per_sample_product(gradient.flatten(2).mT, activation.flatten(2).mT, workspace)
        else:
            activation, padding = _pad(module, activation)
            if gradient.is_cuda and isinstance(module, nn.Conv2d):
                product = _by_unfolding(module, activation, gradient, padding, workspace)
            else:
                product = _by_sample(module, activation, gradient, padding, workspace)
        yield "weight", product.view(gradient.shape[0], -1)
    if "bias" in wanted:
        yield "bias", widen(gradient).flatten(2).sum(2)


def input_patches(module: Convolution, activation: Tensor) -> Tensor:
    """Return what each output position of an ungrouped convolution is made of, ``[B, ..., I * kernel]``.

    In the order of the flattened weight of one output channel. ``activation`` is ``[B, I, ...]``.
    """
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    columns = functional.pad(activation, module._reversed_padding_repeated_twice, mode=mode)
    axes = len(module.kernel_size)
    for axis, (size, step, gap) in enumerate(zip(module.kernel_size, module.stride, module.dilation, strict=True)):
        columns = columns.unfold(2 + axis, gap * (size - 1) + 1, step)[..., ::gap]
    return columns.movedim(1, 1 + axes).flatten(1 + axes)


def _is_pointwise(module: Convolution) -> bool:
    return (
        module.groups == 1
        and all(size == 1 for size in module.kernel_size)
        and all(step == 1 for step in module.stride)
        and all(pad == 0 for pad in module._reversed_padding_repeated_twice)
    )


def _pad(module: Convolution, activation: Tensor) -> tuple[Tensor, list[int]]:
    if module.padding_mode == "zeros" and not isinstance(module.padding, str):
        return activation, list(module.padding)
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    padded = functional.pad(activation, module._reversed_padding_repeated_twice, mode=mode)
    return padded, [0] * len(module.kernel_size)


def _by_sample(
    module: Convolution, activation: Tensor, gradient: Tensor, padding: list[int], workspace: Workspace
) -> Tensor:
    # The library's own weight gradient, one sample at a time: on a CPU it beats unfolding up to threefold.
    # Attention hands on channels-last activations, whose weight gradient would need a slow transposed copy per sample.
    activation, gradient = widen(activation).contiguous(), widen(gradient).contiguous()
    weight = widen(module.weight.detach()).contiguous()
    result = workspace.take((gradient.shape[0], weight.numel()), gradient)
    for row in range(gradient.shape[0]):
        _, weight_gradient, _ = torch.ops.aten.convolution_backward(
            gradient[row : row + 1],
            activation[row : row + 1],
            weight,
            None,
            list(module.stride),
            padding,
            list(module.dilation),
            False,
            [0] * len(padding),
            module.groups,
            [False, True, False],
        )
        result[row].copy_(weight_gradient.reshape(-1))
    return result


def _by_unfolding(
    module: nn.Conv2d, activation: Tensor, gradient: Tensor, padding: list[int], workspace: Workspace
) -> Tensor:
    batch, outputs = gradient.shape[:2]
    groups = module.groups
    patch = activation.shape[1] * module.kernel_size[0] * module.kernel_size[1]
    positions = gradient.shape[2] * gradient.shape[3]
    step = max(1, _UNFOLDED_ELEMENTS // (patch * positions))
    result = torch.empty(batch, module.weight.numel(), device=gradient.device, dtype=widen(gradient[:0]).dtype)
    for start in range(0, batch, step):
        rows = slice(start, start + step)
        columns = functional.unfold(
            activation[rows].to(gradient.dtype),
            module.kernel_size,
            dilation=module.dilation,
            padding=(padding[0], padding[1]),
            stride=module.stride,
        )
        count = columns.shape[0]
        left = gradient[rows].reshape(count * groups, outputs // groups, positions)
        right = columns.view(count * groups, patch // groups, positions)
        result[rows] = per_sample_product(left.mT, right.mT, workspace).reshape(count, -1)
    return result
