"""Which rule computes the per-sample gradient of which module."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

from torch import Tensor, nn

from dmin.gradients.layers.conv import conv_gradients
from dmin.gradients.layers.embedding import embedding_gradients
from dmin.gradients.layers.linear import linear_gradients
from dmin.gradients.layers.norm import group_norm_gradients, layer_norm_gradients, rms_norm_gradients
from dmin.gradients.layers.workspace import Workspace

Rule = Callable[[Any, Tensor, Tensor, Collection[str], Workspace], Iterator[tuple[str, Tensor]]]
"""``(module, input, output gradient, wanted local names, workspace)`` -> ``(local name, [B, numel])`` in turn.

A yielded tensor is valid until the next one is asked for.
"""

_RULES: tuple[tuple[type[nn.Module], str, Rule], ...] = (
    (nn.Linear, "linear", linear_gradients),
    (nn.Conv1d, "conv", conv_gradients),
    (nn.Conv2d, "conv", conv_gradients),
    (nn.Conv3d, "conv", conv_gradients),
    (nn.GroupNorm, "group_norm", group_norm_gradients),
    (nn.LayerNorm, "layer_norm", layer_norm_gradients),
    (nn.RMSNorm, "rms_norm", rms_norm_gradients),
    (nn.Embedding, "embedding", embedding_gradients),
)


def find_rule(module: nn.Module, parameter: str) -> tuple[str, Rule] | None:
    """Return the name and function of the rule that covers ``module.<parameter>``, or None.

    A subclass or an instance whose forward differs from the known layer's has no rule.
    """
    if parameter not in ("weight", "bias") or "forward" in vars(module):
        return None
    if isinstance(module, nn.Embedding) and (module.max_norm or module.scale_grad_by_freq or module.sparse):
        return None
    for kind, name, rule in _RULES:
        if isinstance(module, kind) and type(module).forward is kind.forward:
            return name, rule
    if _is_foreign_rms_norm(module):
        return "rms_norm", rms_norm_gradients
    return None


def _is_foreign_rms_norm(module: nn.Module) -> bool:
    origin, name = type(module).__module__, type(module).__name__
    if origin == "diffusers.models.normalization":
        return name == "RMSNorm"
    return origin.startswith("transformers.models.") and hasattr(module, "variance_epsilon")
