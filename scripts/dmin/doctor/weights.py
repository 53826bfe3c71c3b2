"""A model as its gradients would be taken: what of its files is read, and the loaded family."""

from __future__ import annotations

import re
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
from dmin.models.trainer_metadata import read_trainer_metadata
from dmin.plan.render import human_bytes
from dmin.runtime.seeds import derive_generator
from dmin.settings.models import Base

# More than this is not loaded: it would take longer than a minute, and memory that may not be there.
MOST_BYTES = 6 * 2**30
_PARTS = ("encoders", "denoiser")


def too_large(model: Mapping[str, Any]) -> str | None:
    """Say why a model is not loaded here; None where it is."""
    own = (model["weights"] or {}).get("path")
    place = own if own and model["finetune"] == "full" else model["base"]["path"]
    # A single file has its other parts in the pipeline of its configs.
    places = [place] if Path(place).is_dir() else [place, model["base"].get("config") or place]
    for each in [*places, *([own] if own else [])]:
        if not is_local(each):
            return f"'{each}' is on the hub, and nothing is downloaded here; name a folder to have it examined"
    size = sum(file.stat().st_size for each in dict.fromkeys(places) for file in _weight_files(Path(each)))
    if size > MOST_BYTES:
        return f"'{place}' has {human_bytes(size)} of weights, which are not loaded here"
    return None


def _weight_files(place: Path) -> list[Path]:
    # What leads to nothing is told where it is loaded.
    return [file for file in (place, *place.rglob("*.safetensors")) if file.is_file()]


def examine_adapter(key: str, model: Mapping[str, Any], folder: Path, bucketed: bool) -> Iterator[Finding]:
    """Yield which tensors of an own adapter are read, once it is imported into ``folder``, and what its trainer says.

    Args:
        bucketed: the data set keeps the shapes of images.

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
    layers = {re.sub(r"\.(lora|lokr|hada)_.*", "", name) for name in taken}
    text = sum(name.startswith("text_encoder") for name in layers)
    said = f"{len(layers) - text} layers of the denoiser" + (f" and {text} of text encoders" if text else "")
    # What is not read is refused by name, so that all was read.
    yield Finding(key, "adapter", f"{len(given)} of {len(given)} tensors read, for {said}")
    yield from _trainer(key, source, model["dataset"], bucketed)


def _trainer(key: str, source: Path, dataset: str, bucketed: bool) -> Iterator[Finding]:
    said = read_trainer_metadata(source)
    shown = {"base": said.base, "rank": said.rank, "alpha": said.alpha, "seed": said.seed, "images": said.images}
    shown["resolution"] = said.resolution and "x".join(map(str, said.resolution))
    words = [f"{name} {value}" for name, value in shown.items() if value is not None]
    if words:
        yield Finding(key, "trainer", f"the adapter says {', '.join(words)}")
    if said.buckets and not bucketed:
        wanted = f"datasets.{dataset}.bucket_step to 64"
        yield Finding(key, "buckets", f"the adapter was trained in aspect-ratio buckets; set {wanted} as there", "note")


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
