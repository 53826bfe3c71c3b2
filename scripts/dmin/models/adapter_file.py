"""Adapter files whose bytes depend on nothing but the adapter."""

from __future__ import annotations

import json
from pathlib import Path

ADAPTER_FILE = "pytorch_lora_weights.safetensors"
SETTINGS = "lora_adapter_metadata"


def canonicalise_adapter(path: Path) -> None:
    """Rewrite the header of an adapter that diffusers saved, so that equal adapters give equal files.

    safetensors writes metadata in a random order, and peft keeps the target modules in a set; a digest of the file
    would differ between runs.
    """
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    metadata = dict(sorted(header["__metadata__"].items()))
    settings = json.loads(metadata[SETTINGS])
    if isinstance(settings["target_modules"], list):
        settings["target_modules"].sort()
    metadata[SETTINGS] = json.dumps(settings, sort_keys=True)
    text = json.dumps({**header, "__metadata__": metadata}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the format aligns the tensors to 8 bytes
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[start:])
