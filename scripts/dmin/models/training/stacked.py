"""Networks of one architecture as one network, which does the same layer of all of them at once.

Small networks spend most of a step on starting operations, not on arithmetic; stacked, an operation is started once
for all. Rows of a batch are interleaved: row ``b * members + m`` is row ``b`` of member ``m``, so that the channels of
all members lie side by side in memory, as grouped convolutions and group norms take them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import nn


class StackedConv2d(nn.Module):
    """A convolution of every member: ``weight [members, out, in, h, w]``, ``bias [members, out]``."""

    def __init__(self, layer: nn.Conv2d, members: int) -> None:
        super().__init__()
        self.members, self.stride, self.padding, self.dilation = members, layer.stride, layer.padding, layer.dilation
        self.weight, self.bias = _stacked(layer.weight, members), _stacked_bias(layer.bias, members)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Return ``[b * members, out, h, w]`` of ``rows [b * members, in, h, w]``."""
        bias = None if self.bias is None else self.bias.flatten()
        out = F.conv2d(
            _side_by_side(rows, self.members), self.weight.flatten(0, 1), bias, self.stride, self.padding,
            self.dilation, self.members,
        )  # fmt: skip
        return out.reshape(len(rows), -1, *out.shape[2:])


class StackedGroupNorm(nn.Module):
    """A group norm of every member: ``weight`` and ``bias`` ``[members, channels]``."""

    def __init__(self, layer: nn.GroupNorm, members: int) -> None:
        super().__init__()
        self.members, self.groups, self.eps = members, layer.num_groups * members, layer.eps
        self.weight, self.bias = _stacked(layer.weight, members), _stacked(layer.bias, members)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the normalised ``rows [b * members, channels, ...]``."""
        weight, bias = self.weight.flatten(), self.bias.flatten()
        normalised = F.group_norm(_side_by_side(rows, self.members), self.groups, weight, bias, self.eps)
        return normalised.reshape(rows.shape)


class StackedLinear(nn.Module):
    """A linear layer of every member: ``weight [members, out, in]``, ``bias [members, out]``."""

    def __init__(self, layer: nn.Linear, members: int) -> None:
        super().__init__()
        self.members = members
        self.weight, self.bias = _stacked(layer.weight, members), _stacked_bias(layer.bias, members)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Return ``[b * members, ..., out]`` of ``rows [b * members, ..., in]``."""
        count = len(rows) // self.members
        by_member = rows.reshape(count, self.members, -1, rows.shape[-1]).transpose(0, 1).flatten(1, 2)
        out = by_member @ self.weight.transpose(1, 2)
        if self.bias is not None:
            out = out + self.bias.unsqueeze(1)
        again = out.unflatten(1, (count, -1)).transpose(0, 1)
        return again.reshape(*rows.shape[:-1], out.shape[-1])


LAYERS: Mapping[type[nn.Module], Callable[..., nn.Module]] = {
    nn.Conv2d: StackedConv2d,
    nn.GroupNorm: StackedGroupNorm,
    nn.Linear: StackedLinear,
}


def can_stack(network: nn.Module) -> bool:
    """Say whether every layer of a network with trained parameters is one that :func:`stack_networks` knows.

    Frozen layers are the same for all members and see each row by itself, whatever they are. PEFT's LoRA layers hold
    linear ones.
    """
    if not _is_trained(network):
        return True
    if isinstance(network, nn.Conv2d) and (network.groups != 1 or network.padding_mode != "zeros"):
        return False
    if type(network) in LAYERS:
        return True
    return not any(value.requires_grad for value in network.parameters(recurse=False)) and all(
        can_stack(child) for child in network.children()
    )


def stack_networks(network: nn.Module, members: Sequence[Mapping[str, torch.Tensor]]) -> nn.Module:
    """Return one network that stands for copies of ``network`` with the trained parameters of each of ``members``.

    These have the names that they have in the network, and a first axis of members. It must pass :func:`can_stack`.
    """
    stacked = copy.deepcopy(network)
    _replace_layers(stacked, len(members))
    with torch.no_grad():
        for name, value in stacked.named_parameters():
            if value.requires_grad:
                value.copy_(torch.stack([member[name] for member in members]))
    return stacked


def interleave(members: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return rows ``[b * members, ...]`` in the order that a stacked network takes, of ``[b, ...]`` of each member."""
    return torch.stack(list(members), 1).flatten(0, 1)


def clip_each(parameters: Sequence[torch.Tensor]) -> None:
    """Scale the gradient of every member ``[members, ...]`` down to a norm of 1 over all parameters, each by itself."""
    gradients = [value.grad for value in parameters if value.grad is not None]
    norms = torch.linalg.vector_norm(torch.stack([value.flatten(1).norm(dim=1) for value in gradients]), dim=0)
    # As torch.nn.utils.clip_grad_norm_ has it.
    scales = (1.0 / (norms + 1e-6)).clamp(max=1.0)
    for value in gradients:
        value.mul_(scales.view(-1, *[1] * (value.ndim - 1)))


def _replace_layers(module: nn.Module, members: int) -> None:
    for name, child in module.named_children():
        if not _is_trained(child):
            continue
        kind = LAYERS.get(type(child))
        if kind is None:
            _replace_layers(child, members)
        else:
            setattr(module, name, kind(child, members))


def _is_trained(module: nn.Module) -> bool:
    return any(value.requires_grad for value in module.parameters())


def _stacked(value: torch.Tensor, members: int) -> nn.Parameter:
    return nn.Parameter(value.new_empty((members, *value.shape)))


def _stacked_bias(value: torch.Tensor | None, members: int) -> nn.Parameter | None:
    return None if value is None else _stacked(value, members)


def _side_by_side(rows: torch.Tensor, members: int) -> torch.Tensor:
    """Return ``rows [b * members, channels, ...]`` as ``[b, members * channels, ...]``."""
    return rows.reshape(len(rows) // members, -1, *rows.shape[2:])
