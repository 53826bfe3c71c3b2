"""The files that a network's weights are in: safetensors alone, whole, and beside each other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from dmin.models.gate.files import read_json, require_plain
from dmin.models.gate.header import FLOATS, read_header
from dmin.runtime.errors import UserError
from dmin.runtime.text import shown

# What frameworks keep weights in; of these only safetensors are read.
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".msgpack", ".h5", ".onnx", ".gguf")
_WEIGHT = re.compile(r"(^|[._])(weight|bias|gamma|beta)$")


def require_weights(place: Path, folder: Path, name: str, what: str) -> None:
    """Refuse a local part of a pipeline whose weights are missing, in another format, whole numbers, or torn.

    Args:
        place: the folder of the part, inside the pipeline's ``folder``.
        name: of its weights, without ``.safetensors``.
        what: the sentence's first words, which name the part.

    Raises:
        UserError: naming the file.
    """
    single, index = place / f"{name}.safetensors", place / f"{name}.safetensors.index.json"
    files = [single] if single.exists() or single.is_symlink() else []
    files += [place / shard for shard in _shards(index)] if index.exists() else []
    if not files:
        raise UserError(f"{what} {_instead(place, single.name)}.")
    held: set[str] = set()
    for file in files:
        require_plain(file, folder)
        tensors = read_header(file, f"{what}:").tensors
        # Positions and counters are whole numbers; a weight that is one was quantised, and its scale is elsewhere.
        whole = next((key for key, (kind, _) in tensors.items() if _WEIGHT.search(key) and kind not in FLOATS), None)
        if whole is not None:
            raise UserError(
                f"{what}: '{shown(file)}' stores '{shown(whole)}' as {tensors[whole][0]}; convert it to half or single "
                "precision."
            )
        held |= tensors.keys()
    absent = sorted(_placed(index).keys() - held) if index.exists() else []
    if absent:
        raise UserError(f"'{shown(index)}' lists '{shown(absent[0])}', which no shard holds; download them again.")


def weight_files(place: Path) -> list[str]:
    """Return the names of all files in a folder that may hold weights, in whichever format."""
    return sorted(file.name for file in place.iterdir() if file.suffix in _WEIGHTS or file.name.endswith(".index.json"))


def _instead(place: Path, wanted: str) -> str:
    """Say what a folder has in the place of its safetensors file, and what to do."""
    found = weight_files(place) if place.is_dir() else []
    if not found:
        return f"has no weights; add {wanted}"
    if found[0].endswith((".safetensors", ".safetensors.index.json")):
        return f"has '{shown(found[0])}' and no {wanted}; rename it, or download the other"
    return (
        f"has its weights in '{shown(found[0])}', a format that can run code and is never read; convert them with "
        "save_pretrained(safe_serialization=True)"
    )


def _placed(index: Path) -> dict[str, Any]:
    """Return the file of each tensor in a shard index."""
    names = read_json(index).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise UserError(f"'{shown(index)}' has no weight_map; download it again.")
    return names


def _shards(index: Path) -> list[str]:
    """Return the files that a shard index names.

    Raises:
        UserError: it is torn, or names a file outside its folder or one that is missing.
    """
    names = _placed(index)
    for file in names.values():
        if not isinstance(file, str) or Path(file).name != file or not file.endswith(".safetensors"):
            raise UserError(
                f"'{shown(index)}' names the shard '{shown(file)}', and only safetensors files beside it are read; "
                "download the model again."
            )
    files = sorted(set(names.values()))
    missing = [file for file in files if not (index.parent / file).exists()]
    if missing:
        raise UserError(f"'{shown(index)}' names the shard '{shown(missing[0])}', which is missing; download it.")
    return files
