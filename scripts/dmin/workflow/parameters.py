"""How many parameters a run attributes, where the headers of weights on disk tell it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..runtime.attributed import ADAPTER, BLOCKS, WITH_TEXT, count_values, named_adapter
from ..runtime.weight_headers import Shapes, denoiser_shapes
from .models import Model

# A tensor of an adapter, as files have it, with or without the name of the denoiser.
_OWN = re.compile(
    r"(base_model\.model\.)?((unet|transformer)\.)?(?P<layer>.+)\.(?P<factor>(lora|lokr|hada)_\w+)(?P<end>(\.weight)?)"
)


def count_attributed(model: Model, selection: str) -> int | None:
    """Return P, the values that ``gradients.parameters`` selects of a model; None where no file on disk tells.

    A selection that matches nothing is 0.
    """
    own = model.settings["weights"]
    if model.settings["finetune"] == "full":
        named = denoiser_shapes(own["path"] if own else model.base.settings["path"])
    elif own:
        named = named_adapter(own["path"], text=selection == WITH_TEXT)
        if named and selection not in (ADAPTER, WITH_TEXT, BLOCKS):
            # Other choices take parameters of the denoiser too.
            named = _with_own(denoiser_shapes(model.base.settings["path"]), named)
    else:
        named = _with_adapter(denoiser_shapes(model.base.settings["path"]), model.settings["lora"])
    return count_values(named, selection)


def _with_own(base: Shapes | None, adapter: Shapes) -> Shapes | None:
    """Return a denoiser's tensors and those of an adapter on it, as they are named once PEFT has added it; None where
    a layer is not the denoiser's."""
    found = {name: _OWN.fullmatch(name) for name in adapter}
    layers = {tensor["layer"] for tensor in found.values() if tensor}
    if base is None or not all(found.values()) or any(f"{layer}.weight" not in base for layer in layers):
        return None
    named: Shapes = {}
    for name, shape in base.items():
        layer, _, last = name.rpartition(".")
        named[f"{layer}.base_layer.{last}" if layer in layers else name] = shape
    for name, tensor in found.items():
        if tensor:
            named[f"{tensor['layer']}.{tensor['factor']}.default{tensor['end']}"] = adapter[name]
    return named


def _with_adapter(base: Shapes | None, lora: Mapping[str, Any]) -> Shapes | None:
    """Return a denoiser's tensors, named as PEFT names them once it has added an adapter; None where one is of a kind
    that is not counted here."""
    if base is None:
        return None
    named: Shapes = {}
    for name, shape in base.items():
        module, _, last = name.rpartition(".")
        if not any(module == target or module.endswith(f".{target}") for target in lora["targets"]):
            named[name] = shape
            continue
        named[f"{module}.base_layer.{last}"] = shape
        if last == "weight":
            if len(shape) not in (2, 4):
                return None
            out, *into = shape
            named[f"{module}.lora_A.default.weight"] = [lora["rank"], *into]
            named[f"{module}.lora_B.default.weight"] = [out, lora["rank"]]
    return named
