"""How many parameters a run attributes, where the headers of weights on disk tell it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..runtime.attributed import ADAPTER, WITH_TEXT, count_values, named_adapter
from ..runtime.weight_headers import Shapes, denoiser_shapes
from .models import Model


def count_attributed(model: Model, selection: str) -> int | None:
    """Return P, the values that ``gradients.parameters`` selects of a model; None where no file on disk tells.

    A selection that matches nothing is 0.
    """
    own = model.settings["weights"]
    if model.settings["finetune"] == "full":
        named = denoiser_shapes(own["path"] if own else model.base.settings["path"])
    elif own:
        told = selection in (ADAPTER, WITH_TEXT)
        named = named_adapter(own["path"], text=selection == WITH_TEXT) if told else None
    else:
        named = _with_adapter(denoiser_shapes(model.base.settings["path"]), model.settings["lora"])
    return count_values(named, selection)


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
