"""A sketch and a norm for every group of layers, built during one backward pass."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from dmin.gradients.sketch_sink import Sketch, SketchSink


def layer_group(name: str) -> str:
    """Return the group of a parameter: its top module, with the number of a block where it is a list of them.

    ``down_blocks.0.attentions.1.to_q.weight`` is of ``down_blocks.0``, ``mid_block.resnets.0.conv1.bias`` of
    ``mid_block``.
    """
    first, *rest = name.split(".")
    return f"{first}.{rest[0]}" if rest and rest[0].isdigit() else first


class LayerSink:
    """Feeds every group of layers to a sink of its own.

    The sketch is linear, so the groups' sketches, each times its norm, sum to that of the whole gradient.
    """

    def __init__(self, sketch: Sketch, batch: int, groups: Mapping[int, str]) -> None:
        """Prepare for one capture of ``batch`` rows; ``groups`` names the group of the tensor at each offset."""
        self._groups = groups
        self._sinks = {name: SketchSink(sketch, batch) for name in dict.fromkeys(groups.values())}

    def add(self, offset: int, gradient: Tensor) -> None:
        """Take the gradient ``[batch, numel]`` of the tensor that starts at ``offset``."""
        self._sinks[self._groups[offset]].add(offset, gradient)

    def finish(self) -> tuple[Tensor, Tensor]:
        """Return the sketches of unit gradients ``[batch, groups, width]`` fp32 and the norms ``[batch, groups]``."""
        parts = [sink.finish() for sink in self._sinks.values()]
        return torch.stack([unit for unit, _ in parts], 1), torch.stack([norm for _, norm in parts], 1)
