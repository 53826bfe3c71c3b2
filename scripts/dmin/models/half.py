"""Linear layers whose frozen weights are kept in bfloat16 and computed with in the precision of what they are given.

Some blocks of libraries convert their values to what they find the weights of a layer in; those layers stay in float32.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Layers by whose weights their block converts what it gives them: those of T5 and of Z-Image.
_READ = {"T5DenseActDense": "wo", "T5DenseGatedActDense": "wo", "TimestepEmbedder": "mlp.0"}


class HalfLinear(nn.Linear):
    """A linear layer that nothing trains; neither pass keeps a copy of its weight in another precision."""

    def forward(self, input: Tensor) -> Tensor:
        """Return ``input W^T + b``, ``[..., out]``, in the dtype of ``input [..., in]``."""
        output: Tensor = _Product.apply(input, self.weight)
        return output if self.bias is None else output + self.bias.to(output.dtype)


class _Product(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(input: Tensor, weight: Tensor) -> Tensor:
        return F.linear(input, weight.to(input.dtype))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])
        ctx.save_for_forward(inputs[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (weight,) = ctx.saved_tensors
        return gradient @ weight.to(gradient.dtype), None

    @staticmethod
    def jvp(ctx: Any, change: Tensor, _: None) -> Tensor:
        (weight,) = ctx.saved_tensors
        return F.linear(change, weight.to(change.dtype))


def keep_half(network: Any) -> Any:
    """Keep the weights of a network's linear layers in bfloat16, and everything else in float32; return the network."""
    blocks = [(module, _READ[type(module).__name__]) for module in network.modules() if type(module).__name__ in _READ]
    read = {module.get_submodule(name) for module, name in blocks}
    for module in network.modules():
        half = type(module) is nn.Linear and module not in read
        if half:
            module.__class__ = HalfLinear
        for name, value in module.named_parameters(recurse=False):
            value.data = value.data.to(torch.bfloat16 if half and name == "weight" else torch.float32)
        for value in module.buffers(recurse=False):
            if value.is_floating_point():
                value.data = value.data.float()
    return network
