"""Adapter files whose bytes depend on nothing but the adapter."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import safe_open

from dmin.runtime.atomic import atomic_path

if TYPE_CHECKING:
    import torch

ADAPTER_FILE = "pytorch_lora_weights.safetensors"
SETTINGS = "lora_adapter_metadata"
# The part of a pipeline that an adapter is mainly of; the others are text encoders, by their names in the pipeline.
DENOISER = ""


@dataclass(frozen=True)
class AdapterPart:
    """What an adapter adds to one network: PEFT's ``settings``, and its ``tensors`` named as the network's layers."""

    settings: Mapping[str, Any]
    tensors: Mapping[str, torch.Tensor]


def write_adapter(path: Path, parts: Mapping[str, AdapterPart]) -> None:
    """Write the ``parts`` of an adapter, by their names in the pipeline; that of the denoiser is ``DENOISER``."""
    from safetensors.torch import save_file

    tensors = {_full(part, name): value for part, given in parts.items() for name, value in given.tensors.items()}
    metadata = {_key(part): json.dumps(given.settings, default=str) for part, given in parts.items()}
    with atomic_path(path) as temporary:
        # A file may hold one matrix under two names, and safetensors refuses those that share memory.
        save_file({name: _own(value) for name, value in tensors.items()}, temporary, {"format": "pt", **metadata})
        canonicalise_adapter(temporary)


def read_adapter(path: Path) -> dict[str, AdapterPart]:
    """Return the parts of an adapter that :func:`write_adapter` or diffusers' ``save_lora_adapter`` wrote.

    Raises:
        Exception: whatever safetensors and JSON raise over a torn file.
    """
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
        metadata = file.metadata()
    parts = {key.removeprefix(SETTINGS).removeprefix("."): key for key in metadata if key.startswith(SETTINGS)}
    return {
        part: AdapterPart(
            json.loads(metadata[key]),
            {name.removeprefix(_full(part, "")): value for name, value in tensors.items() if _of(name, parts) == part},
        )
        for part, key in sorted(parts.items())
    }


def canonicalise_adapter(path: Path) -> None:
    """Rewrite the header of an adapter that diffusers saved, so that equal adapters give equal files.

    safetensors writes metadata in a random order, and peft keeps the target modules in a set; a digest of the file
    would differ between runs.
    """
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    metadata = dict(sorted(header["__metadata__"].items()))
    for key in metadata:
        if key.startswith(SETTINGS):
            settings = json.loads(metadata[key])
            if isinstance(settings["target_modules"], list):
                settings["target_modules"].sort()
            metadata[key] = json.dumps(settings, sort_keys=True)
    text = json.dumps({**header, "__metadata__": metadata}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the format aligns the tensors to 8 bytes
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[start:])


def _key(part: str) -> str:
    return f"{SETTINGS}.{part}" if part else SETTINGS


def _full(part: str, name: str) -> str:
    return f"{part}.{name}" if part else name


def _of(name: str, parts: Mapping[str, str]) -> str:
    return next((part for part in parts if part and name.startswith(f"{part}.")), DENOISER)


def _own(value: torch.Tensor) -> torch.Tensor:
    return value.clone().contiguous()
