"""The files that a network's weights are in: safetensors alone, whole, and beside each other."""

from __future__ import annotations

from pathlib import Path

from dmin.models.gate.files import read_json, require_plain
from dmin.models.gate.header import read_header
from dmin.runtime.errors import UserError
from dmin.runtime.text import shown

# What frameworks keep weights in; of these only safetensors are read.
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".msgpack", ".h5", ".onnx", ".gguf")


def require_weights(place: Path, folder: Path, name: str, what: str) -> None:
    """Refuse a local part of a pipeline whose weights are missing, in another format, or torn.

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
    for file in files:
        require_plain(file, folder)
        read_header(file, f"{what}:")


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


def _shards(index: Path) -> list[str]:
    """Return the files that a shard index names.

    Raises:
        UserError: it is torn, or names a file outside its folder or one that is missing.
    """
    names = read_json(index).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise UserError(f"'{shown(index)}' has no weight_map; download it again.")
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
