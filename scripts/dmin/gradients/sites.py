"""Where in a model each selected parameter gets its gradient from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import nn

from dmin.gradients.layers.registry import Rule, find_rule

# These hold parameters for a parent and never run themselves.
_HOLDERS = (nn.ParameterDict, nn.ParameterList, nn.ModuleDict, nn.ModuleList)


@dataclass(frozen=True)
class Site:
    """One module whose calls are recorded, and the selected tensors whose gradient is computed there."""

    module: nn.Module
    label: str
    """Name of the module in the model, for messages."""
    path: str
    """Name of the rule, ``autograd`` for the exact fallback."""
    rule: Rule | None
    names: dict[str, str] = field(default_factory=dict)
    """Name inside the module -> name in the model."""


def plan_sites(model: nn.Module, parameters: Mapping[str, nn.Parameter]) -> list[Site]:
    """Assign every use of every selected parameter to a module: to its own rule, or to the exact fallback.

    A tensor shared by several modules appears in one site per module. A module that reads its children's parameters
    instead of calling the children (attention with fused weights, DoRA) takes them over, as does the parent of a bare
    parameter container.
    """
    selected = {id(parameter): name for name, parameter in parameters.items()}
    modules = dict(model.named_modules())
    sites: dict[tuple[str, str], Site] = {}
    for owner, module in modules.items():
        for local, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            name = selected.get(id(parameter))
            if name is None:
                continue
            label = _claimant(owner, modules)
            found = find_rule(module, local) if label == owner else None
            path, rule = found or ("autograd", None)
            full = f"{owner}.{local}" if owner else local
            site = sites.setdefault((label, path), Site(modules[label], label, path, rule))
            site.names[full.removeprefix(f"{label}." if label else "")] = name
    return list(sites.values())


def _claimant(owner: str, modules: Mapping[str, nn.Module]) -> str:
    parts = owner.split(".") if owner else []
    ancestors = [".".join(parts[:depth]) for depth in range(len(parts) + 1)]
    for label in ancestors:
        if _reads_children(modules[label]):
            return label
    while isinstance(modules[ancestors[-1]], _HOLDERS) and len(ancestors) > 1:
        ancestors.pop()
    return ancestors[-1]


def _reads_children(module: nn.Module) -> bool:
    # PEFT keeps a variant such as DoRA in this mapping; a variant multiplies lora_A and lora_B outside their forward.
    return isinstance(module, nn.MultiheadAttention) or bool(getattr(module, "lora_variant", None))
