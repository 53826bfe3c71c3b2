"""Adapters as other trainers write them, of random numbers, and what diffusers itself makes of the same files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from strange_adapters import answer
from tiny_pipeline import CPU
from torch import nn

from dmin.models.families.family import Family
from dmin.models.load import load_family
from dmin.models.own_weights import import_adapter

Tensors = dict[str, torch.Tensor]
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
Layers = dict[str, tuple[int, ...]]
Named = tuple[Tensors, dict[str, torch.Tensor]]


def layers_of(network: nn.Module, targets: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Return the weights' shapes of the layers of a network whose names end with one of ``targets``."""
    return {
        name: tuple(module.weight.shape)
        for name, module in network.named_modules()
        if name.endswith(tuple(targets)) and isinstance(module, nn.Linear | nn.Conv2d)
    }


def matrices(
    layers: Mapping[str, tuple[int, ...]], ranks: Callable[[int], int] = lambda _: 4, dtype: torch.dtype = torch.float32
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Return the random down and up matrices of every layer; that of number n has the rank ``ranks(n)``."""
    generator = torch.Generator().manual_seed(3)
    found = {}
    for number, (name, (out, *into)) in enumerate(layers.items()):
        rank = ranks(number)
        down = torch.randn(rank, *into, generator=generator) * 0.3
        up = torch.randn(out, rank, *[1] * (len(into) - 1), generator=generator) * 0.3
        found[name] = down.to(dtype), up.to(dtype)
    return found


def sd_scripts(
    pairs: Mapping[str, tuple[torch.Tensor, torch.Tensor]],
    alphas: Callable[[int], float | None] = lambda _: 2.0,
    prefix: str = "lora_unet_",
) -> Tensors:
    """Return the tensors as sd-scripts names them."""
    found: Tensors = {}
    for number, (name, (down, up)) in enumerate(pairs.items()):
        layer, alpha = prefix + name.replace(".", "_"), alphas(number)
        found |= {f"{layer}.lora_down.weight": down, f"{layer}.lora_up.weight": up}
        if alpha is not None:
            found[f"{layer}.alpha"] = torch.tensor(alpha, dtype=down.dtype)
    return found


def written(file: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None) -> Path:
    """Write an adapter and return its file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.clone().contiguous() for name, value in tensors.items()}, file, dict(metadata or {}) or None)
    return file


def brought(
    file: Path, base: Mapping[str, Any], folder: Path, parts: Sequence[str] = ("denoiser",), alpha: float | None = None
) -> Family:
    """Import an adapter and return the family with it."""
    folder.mkdir()
    out = folder / "pytorch_lora_weights.safetensors"
    import_adapter({"path": str(file), "revision": None, "alpha": alpha}, base, out, folder / "model.json")
    family = load_family(base, CPU, list(parts))
    family.load_adapter(folder)
    return family


def diffusers_own(file: Path, base: Mapping[str, Any], pipeline: Any) -> Any:
    """Return the pipeline once diffusers has loaded the same file."""
    loaded = pipeline.from_pretrained(base["path"], torch_dtype=torch.float32)
    loaded.load_lora_weights(str(file.parent), weight_name=file.name)
    return loaded


def merged(base: Mapping[str, Any], changes: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return what a denoiser answers once its layers' weights are changed by these sums."""
    family = load_family(base, CPU, ["denoiser"])
    modules = dict(family.denoiser.named_modules())
    for name, change in changes.items():
        modules[name].weight.data += change.reshape(modules[name].weight.shape)
    return answer(family.denoiser)


def product(down: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """Return the change of a layer's weight at scale 1."""
    return (up.flatten(1).float() @ down.flatten(1).float()).reshape(len(up), *down.shape[1:])


def folded(layer: str) -> str:
    return f"lora_unet_{layer.replace('.', '_')}"


def loha(layers: Layers, alpha: float = 3.0, rank: int = 2) -> Named:
    """Return a LoHa as LyCORIS writes it, and the change of each layer by its formula."""
    generator = torch.Generator().manual_seed(5)
    tensors: Tensors = {}
    changes = {}
    for layer, (out, *into) in layers.items():
        width = torch.Size(into).numel()
        parts = [torch.randn(*shape, generator=generator) * 0.4 for shape in ((out, rank), (rank, width)) * 2]
        names = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
        tensors |= {f"{folded(layer)}.{name}": part for name, part in zip(names, parts, strict=True)}
        tensors[f"{folded(layer)}.alpha"] = torch.tensor(alpha)
        changes[layer] = alpha / rank * (parts[0] @ parts[1]) * (parts[2] @ parts[3])
    return tensors, changes
