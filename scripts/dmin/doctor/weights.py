"""A model as its gradients would be taken: what of its files is read, and the loaded family."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import safe_open

from dmin.doctor.findings import Finding
from dmin.folders.files import is_local
from dmin.models.adapter_file import ADAPTER_FILE
from dmin.models.families.family import Family
from dmin.models.load import TrainedModel, load_family, load_trained
from dmin.models.own_weights import CPU, find_adapter, import_adapter
from dmin.plan.render import human_bytes
from dmin.runtime.seeds import derive_generator
from dmin.settings.models import Base

# More than this is not loaded: it would take longer than a minute, and memory that may not be there.
MOST_BYTES = 6 * 2**30
_PARTS = ("encoders", "denoiser")


def too_large(model: Mapping[str, Any]) -> str | None:
    """Say why a model is not loaded here; None where it is."""
    path = (model["weights"] or {}).get("path") if model["finetune"] == "full" else None
    for place in (path or model["base"]["path"],):
        if not is_local(place):
            return f"'{place}' is on the hub, and nothing is downloaded here; set path to a folder to have it examined"
        size = sum(file.stat().st_size for file in Path(place).rglob("*.safetensors"))
        if size > MOST_BYTES:
            return f"'{place}' has {human_bytes(size)} of weights, which are not loaded here"
    return None


def examine_adapter(key: str, model: Mapping[str, Any], folder: Path) -> Iterator[Finding]:
    """Yield which tensors of an own adapter are read, once it is imported into ``folder``.

    Raises:
        UserError: it would be refused.
    """
    own = model["weights"]
    source = find_adapter(own["path"], own["revision"])
    import_adapter(own, model["base"], folder / ADAPTER_FILE, folder / "model.json")
    with safe_open(source, framework="pt") as file:
        given = list(file.keys())
    with safe_open(folder / ADAPTER_FILE, framework="pt") as file:
        taken = list(file.keys())
    layers = {name.rpartition(".lora_")[0] for name in taken if ".lora_" in name}
    # What is not read is refused by name, so that all was read.
    yield Finding(
        key, "adapter", f"{len(given)} of {len(given)} tensors read, for {len(layers)} layers of the denoiser"
    )


def open_model(model: Mapping[str, Any], folder: Path) -> Family:
    """Return a model with its encoders; an adapter or a denoiser that is still to be trained has random weights.

    Args:
        folder: holds the imported adapter, where the model has one of its own.

    Raises:
        UserError: it cannot be loaded.
    """
    base, own = model["base"], model["weights"]
    if model["finetune"] == "full":
        place = {"path": own["path"], "revision": own["revision"]} if own else {}
        family = load_family(cast(Base, {**base, **place}), CPU, [*_PARTS, *([] if own else ["untrained"])])
        if family.untrained:
            family.initialise_denoiser(0)
        return family
    if own:
        return load_trained(TrainedModel(base, folder / ADAPTER_FILE), CPU, _PARTS)
    family = load_family(base, CPU, _PARTS)
    family.add_adapter(model["lora"])
    generator = derive_generator(0, "doctor")
    with torch.no_grad():
        for name, value in family.denoiser.named_parameters():
            # Of an untrained adapter one factor is zero, so that the other has no gradient.
            if "lora_B" in name:
                value.copy_(0.01 * torch.randn(value.shape, generator=generator))
    return family
