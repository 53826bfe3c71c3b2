"""Structural pruning by magnitude: whole channels of a denoiser, or whole ranks of an adapter, are removed."""

from __future__ import annotations

import logging
from typing import Any

import torch
import torch_pruning as tp
from diffusers.models.attention_processor import Attention
from diffusers.models.downsampling import Downsample2D
from diffusers.models.upsampling import Upsample2D
from torch import nn

from dmin.runtime.errors import UserError

log = logging.getLogger(__name__)


def prune_channels(network: Any, inputs: tuple[torch.Tensor, torch.Tensor], ratio: float) -> None:
    """Remove a ``ratio`` of the channels of every layer, those whose weights have the least norm.

    Channels that layers share, by sums, normalisations and attention, go together, ranked by the norm of all their
    weights. Every group of a GroupNorm loses as many, the nearest number to the ratio, and attention of several heads
    loses whole ones, so that what is removed is not just the ratio. What gives the output keeps its channels.

    Args:
        inputs: noised latents ``[1, c, h, w]`` and a timestep ``[1]``, by which the layers are traced.

    Raises:
        UserError: a layer would lose all its channels.

    Source: Fang et al. 2023, Diff-Pruning, and its library, torch-pruning.
    """
    network.requires_grad_(True)
    heads = {
        layer: module
        for module in network.modules()
        if isinstance(module, Attention) and module.heads > 1
        for layer in (module.to_q, module.to_k, module.to_v)
    }
    names = {module: name for name, module in network.named_modules()}
    graph = tp.DependencyGraph().build_dependency(network, example_inputs=inputs)
    importance = tp.importance.GroupMagnitudeImportance(p=2)
    layers = [nn.Conv2d, nn.Linear]
    for group in graph.get_all_groups(ignored_layers=[network.conv_out], root_module_types=layers):
        root = group[0].dep.target.module
        scores = importance(group)
        # What is pruned of each is its output; other layers of the group lose inputs.
        outputs = [item.dep.target.module for item in group if graph.is_out_channel_pruning_fn(item.dep.handler)]
        attention = next((heads[module] for module in outputs if module in heads), None)
        norms = [module.num_groups for module in outputs if isinstance(module, nn.GroupNorm)]
        if attention is not None:
            # A head is a run of channels; all attention layers of a group lose the same ones.
            parts, run = 1, len(scores) // attention.heads
            scores = scores.view(attention.heads, run).mean(1)
        else:
            parts, run = max(norms, default=1), 1
        chosen = _least(scores.view(parts, -1), ratio, names[root])
        channels = [run * place + offset for place in chosen for offset in range(run)]
        if channels:
            graph.get_pruning_group(root, group[0].dep.handler, channels).prune()
        if attention is not None:
            attention.heads -= len(chosen)
    for module in network.modules():
        if isinstance(module, Downsample2D | Upsample2D) and module.conv is not None:
            module.channels, module.out_channels = module.conv.in_channels, module.conv.out_channels
    network.requires_grad_(False)


def _least(scores: torch.Tensor, ratio: float, name: str) -> list[int]:
    """Return the places of the least scores of every row ``[parts, n]``, the nearest number to the ratio of each.

    Raises:
        UserError: these are all.
    """
    parts, size = scores.shape
    gone = round(ratio * size)
    if gone >= size:
        raise UserError(
            f"pruning.ratio {ratio} leaves no channel of layer '{name}', whose channels go in {size} parts; lower it."
        )
    places = scores.argsort(dim=1, stable=True)[:, :gone] + size * torch.arange(parts, device=scores.device)[:, None]
    chosen: list[int] = places.flatten().sort().values.tolist()
    return chosen


def pruned_rank(rank: int, ratio: float) -> int:
    """Return the rank that is left of an adapter.

    Raises:
        UserError: none is.
    """
    left = rank - round(ratio * rank)
    if left < 1:
        raise UserError(f"pruning.ratio {ratio} leaves nothing of an adapter of rank {rank}; lower it.")
    return left


def prune_ranks(adapter: dict[str, torch.Tensor], ratio: float) -> dict[str, torch.Tensor]:
    """Return an adapter without a ``ratio`` of the ranks of every layer, those whose two vectors have the least norm.

    What is left of the product B A is what it was, although the adapter's scale is over a smaller rank.

    Args:
        adapter: ``lora_A.weight [rank, in]`` and ``lora_B.weight [out, rank]`` of every layer, by name.

    Raises:
        UserError: no rank is left.
    """
    pruned = {}
    importance = tp.importance.GroupMagnitudeImportance(p=2)
    for name in sorted(key for key in adapter if ".lora_A." in key):
        other = name.replace(".lora_A.", ".lora_B.")
        down, up = adapter[name], adapter[other]
        left = pruned_rank(len(down), ratio)
        pair = nn.Sequential(nn.Linear(down.shape[1], len(down), bias=False), nn.Linear(len(down), len(up), bias=False))
        first, second = pair
        with torch.no_grad():
            first.weight.copy_(down)  # type: ignore[operator]
            second.weight.copy_(up)  # type: ignore[operator]
        graph = tp.DependencyGraph().build_dependency(pair, example_inputs=torch.zeros(1, down.shape[1]))
        ranks = graph.get_pruning_group(first, tp.prune_linear_out_channels, list(range(len(down))))
        gone = importance(ranks).argsort(stable=True)[: len(down) - left].tolist()
        if gone:
            graph.get_pruning_group(first, tp.prune_linear_out_channels, gone).prune()
        pruned[name] = first.weight.detach().clone()  # type: ignore[operator]
        pruned[other] = second.weight.detach() * (left / len(down))  # type: ignore[operator]
    return pruned
