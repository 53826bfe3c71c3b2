"""Networks whose tensors have other shapes than their config says, such as pruned ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dmin.runtime.atomic import write_json
from dmin.runtime.errors import UserError

SHAPES_FILE = "shapes.json"
# What a module counts itself by: its attribute, and the dimension of its weight that holds the count.
_COUNTED: dict[type[nn.Module], dict[str, int]] = {
    nn.Conv2d: {"out_channels": 0, "in_channels": 1},
    nn.Linear: {"out_features": 0, "in_features": 1},
    nn.GroupNorm: {"num_channels": 0},
}
# Attributes of diffusers' blocks that no tensor tells; nothing else is set from a file.
_BLOCK_ATTRIBUTES = ("heads", "channels", "out_channels")


def own_shapes(network: Any) -> dict[str, Any] | None:
    """Return what is needed to build a network again whose shapes differ from its config, or None where they do not.

    ``shapes`` has that of every tensor, ``attributes`` the numbers by which diffusers' blocks count their channels or
    heads, by module.
    """
    with torch.device("meta"):
        fresh = type(network).from_config(network.config)
    shapes = {name: list(value.shape) for name, value in network.state_dict().items()}
    if shapes == {name: list(value.shape) for name, value in fresh.state_dict().items()}:
        return None
    return {"shapes": shapes, "attributes": _attributes(network)}


def write_shapes(network: Any, folder: Path) -> None:
    """Write ``shapes.json`` to the folder of a network whose shapes differ from its config."""
    manifest = own_shapes(network)
    if manifest is not None:
        write_json(manifest, folder / SHAPES_FILE)


def read_shapes(folder: Path) -> dict[str, Any] | None:
    """Return what :func:`write_shapes` wrote, None where nothing.

    Raises:
        UserError: the file is torn or foreign.
    """
    path = folder / SHAPES_FILE
    if not path.is_file():
        return None
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        sizes = [size for shape in manifest["shapes"].values() for size in shape]
        counts = [count for given in manifest["attributes"].values() for count in given.values()]
        if not all(type(value) is int and value > 0 for value in sizes + counts):
            raise ValueError("a size is no positive number")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"'{path}' is torn or foreign ({error}); make the pruned model again.") from error
    return manifest


def reshape(network: Any, manifest: dict[str, Any]) -> None:
    """Give a network the shapes of a manifest, with fresh weights where they change.

    Raises:
        UserError: they are those of another network.
    """
    shapes, own = manifest["shapes"], network.state_dict()
    if set(shapes) != set(own):
        raise UserError(
            f"{SHAPES_FILE} lists the tensor '{min(set(shapes) ^ set(own))}', which the network's config and it do not "
            "share; make the pruned model again."
        )
    for name, module in network.named_modules():
        weight = f"{name}.weight"
        kind = next((kind for kind in _COUNTED if isinstance(module, kind)), None)
        if kind is None or weight not in shapes or list(own[weight].shape) == shapes[weight]:
            continue
        for attribute, dimension in _COUNTED[kind].items():
            setattr(module, attribute, shapes[weight][dimension])
        for part, value in list(module.named_parameters(recurse=False)):
            fresh = torch.empty(shapes[f"{name}.{part}"], dtype=value.dtype, device=value.device)
            setattr(module, part, nn.Parameter(fresh, requires_grad=value.requires_grad))
        module.reset_parameters()
    known = dict(network.named_modules())
    for name, given in manifest["attributes"].items():
        for attribute, count in given.items():
            if attribute in _BLOCK_ATTRIBUTES and type(getattr(known.get(name), attribute, None)) is int:
                setattr(known[name], attribute, count)
    if {name: list(value.shape) for name, value in network.state_dict().items()} != shapes:
        raise UserError(f"{SHAPES_FILE} does not fit the network's config; make the pruned model again.")


def _attributes(network: Any) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for name, module in network.named_modules():
        # The network itself has its config's numbers.
        if not name or isinstance(module, tuple(_COUNTED)):
            continue
        given = {key: getattr(module, key, None) for key in _BLOCK_ATTRIBUTES}
        numbers = {key: value for key, value in given.items() if type(value) is int}
        if numbers:
            found[name] = numbers
    return found
