"""An adapter put on a network: LoRA and DoRA, LoKr and LoHa, all through PEFT's layers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoHaConfig, LoKrConfig, LoraConfig, PeftConfig, inject_adapter_in_model
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from torch import nn

from dmin.models.adapter_file import AdapterPart
from dmin.models.gate.finite import first_not_finite
from dmin.models.gate.words import reason
from dmin.runtime.attributed import is_adapted
from dmin.runtime.errors import UserError
from dmin.runtime.text import shown

# PEFT's name of an adapter when there is one.
NAME = "default"
KINDS: Mapping[str, type[PeftConfig]] = {"LORA": LoraConfig, "LOKR": LoKrConfig, "LOHA": LoHaConfig}
_TENSOR = re.compile(r"\.(lora_[AB]\.weight|lora_magnitude_vector|(lokr|hada)_\w+)$")


def put_adapter(file: Path, network: Any, part: AdapterPart, what: str) -> None:
    """Put a part of the adapter ``file`` on a network, frozen, in single precision whatever the network's is.

    Args:
        what: the network in the sentence of an error, such as ``denoiser``.

    Raises:
        UserError: a layer is absent or of another width, a tensor has no place or a place no tensor, or it is not
            finite.
    """
    tensors = {name: value.float() for name, value in part.tensors.items()}
    try:
        _require_places(file, network, {name: tuple(value.shape) for name, value in tensors.items()}, what)
        kind = str(part.settings.get("peft_type") or "LORA").removeprefix("PeftType.")
        settings = {**part.settings, "target_modules": _targets(network, part)}
        inject_adapter_in_model(KINDS[kind](**settings), network, adapter_name=NAME)
        keep_single(network)
        if kind == "LORA":
            set_peft_model_state_dict(network, tensors, NAME)
            held = set(get_peft_model_state_dict(network, adapter_name=NAME, save_embedding_layers=False))
        else:
            held = _set_factors(network, tensors)
    except (UserError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        # PEFT raises whatever it likes over a foreign file.
        raise UserError(f"Adapter '{file}' cannot be loaded ({reason(error)}); train it on this base.") from error
    network._hf_peft_config_loaded = True
    # PEFT leaves places without tensors at random.
    unmatched = sorted(tensors.keys() ^ held)
    if unmatched:
        raise UserError(f"Adapter '{file}' and the {what} differ in '{shown(unmatched[0])}'; train it on this base.")
    bad = first_not_finite((key, value) for key, value in adapter_parameters(network).items())
    if bad is not None:
        raise UserError(f"Adapter '{file}' has values in '{bad}' that are not finite; train it again.")
    network.eval().requires_grad_(False)


def adapter_parameters(network: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters of the adapter on a network, by name."""
    return {name: value for name, value in network.named_parameters() if is_adapted(name)}


def keep_single(network: nn.Module) -> None:
    """Keep the adapter on a network in single precision, which PEFT makes in that of the layer below."""
    for value in adapter_parameters(network).values():
        value.data = value.data.float()


def _targets(network: nn.Module, part: AdapterPart) -> Any:
    """Return the layers that an adapter changes, as PEFT is told them.

    PEFT takes a listed name for the end of others too: with the last ``proj_out`` of FLUX it would change those of all
    its blocks. Where an adapter lists every layer in full, a pattern says no more than that.
    """
    told = part.settings["target_modules"]
    layers = {_TENSOR.sub("", name) for name in part.tensors}
    if isinstance(told, str) or {*told} != layers:
        return told
    ends = tuple(f".{layer}" for layer in layers)
    alike = any(name.endswith(ends) and name not in layers for name, _ in network.named_modules())
    return "|".join(map(re.escape, sorted(layers))) if alike else told


def _set_factors(network: nn.Module, tensors: Mapping[str, torch.Tensor]) -> set[str]:
    """Give the layers of LoKr and LoHa the factors of a file as they are, and return what they then hold.

    PEFT derives the shapes of factors from its settings; a file may split its layers otherwise.
    """
    modules, held = dict(network.named_modules()), set()
    for layer in {name.rpartition(".")[0] for name in tensors}:
        module = modules[layer]
        for factor in module.adapter_layer_names:
            place, value = getattr(module, factor), tensors.get(f"{layer}.{factor}")
            if NAME in place:
                del place[NAME]
            if value is not None:
                device = module.get_base_layer().weight.device
                place[NAME] = nn.Parameter(value.to(device), requires_grad=False)
                held.add(f"{layer}.{factor}")
        change = module.get_delta_weight(NAME)
        if change.shape != module.get_base_layer().weight.shape:
            raise ValueError(f"the factors of '{layer}' do not give its weight")
    return held


def _require_places(file: Path, network: nn.Module, shapes: Mapping[str, tuple[int, ...]], what: str) -> None:
    """Check that each tensor of an adapter names a layer of the network, and is as wide as that."""
    layers = dict(network.named_modules())
    for name, shape in sorted(shapes.items()):
        found = _TENSOR.search(name)
        layer = None if found is None else layers.get(name[: found.start()])
        weight = getattr(layer, "weight", None)
        if found is None or weight is None or weight.ndim < 2:
            raise UserError(
                f"Adapter '{file}' and the {what} differ in '{shown(name)}', whose layer the {what} does not have; "
                "train it on this base."
            )
        side = {"lora_A.weight": 1, "lora_B.weight": 0}.get(found[1])
        # lora_A takes what the layer takes, lora_B gives what it gives.
        if side is not None and (len(shape) != weight.ndim or shape[side] != weight.shape[side]):
            raise UserError(
                f"Adapter '{file}' and the {what} differ in '{shown(name)}': it is {list(shape)} and the layer's "
                f"width {weight.shape[side]}; train it on this base."
            )
